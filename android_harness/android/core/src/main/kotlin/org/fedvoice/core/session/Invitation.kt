package org.fedvoice.core.session

import kotlinx.serialization.Serializable
import kotlinx.serialization.SerializationException
import kotlinx.serialization.Transient
import kotlinx.serialization.json.Json
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Codec
import java.security.GeneralSecurityException
import java.security.cert.X509Certificate
import java.util.Base64

/**
 * What lets a phone in once: `fedvoice1:` and then base64url without padding of a JSON object with
 * these fields.
 *
 * @property server HOST:PORT of the main address
 * @property enrol HOST:PORT where the phone gets its certificate
 * @property authority PEM of the certificate authority
 * @property token works once
 */
@Serializable
class Invitation(val server: String, val enrol: String, val authority: String, val token: String) {
    /** sha256 of the text, hex: remembered, so that the same one may be given again. */
    @Transient
    var digest: String = ""
        private set

    /** The authority's certificate. */
    fun trusted(): X509Certificate =
        try {
            certificateOf(unpem(authority))
        } catch (error: GeneralSecurityException) {
            throw unreadable("its authority is no certificate", error)
        } catch (error: IllegalArgumentException) {
            throw unreadable("its authority is no certificate", error)
        }

    companion object {
        private const val PREFIX = "fedvoice1:"
        private const val SHOWN = 80
        private val format = Json { ignoreUnknownKeys = true }

        /**
         * Reads an invitation's text.
         *
         * @throws FedvoiceException `bad-credentials`
         */
        fun parse(text: String): Invitation {
            val trimmed = text.trim()
            if (!trimmed.startsWith(PREFIX)) throw unreadable("it does not begin with $PREFIX")
            return try {
                val bytes = Base64.getUrlDecoder().decode(trimmed.removePrefix(PREFIX))
                format.decodeFromString<Invitation>(String(bytes)).also {
                    it.digest = Codec.digestOf(trimmed.toByteArray())
                    listOf(it.server, it.enrol).forEach(::checkAddress)
                }
            } catch (error: SerializationException) {
                throw unreadable("a field is missing or of another kind", error)
            } catch (error: IllegalArgumentException) {
                throw unreadable("it is not base64url", error)
            }
        }

        private fun checkAddress(address: String) {
            if (!isAddress(address)) throw unreadable("the address '${address.take(SHOWN)}'")
            checkCanBeCalled(
                address,
                "the invitation",
                "Ask for a new one, made with `fedvoice invite --server HOST:PORT`.",
                ErrorCode.BAD_CREDENTIALS,
            )
        }

        private fun unreadable(what: String, cause: Exception? = null) =
            FedvoiceException(
                ErrorCode.BAD_CREDENTIALS,
                where = "the invitation",
                got = what,
                wanted = "an invitation, one line that begins with $PREFIX",
                nextStep =
                    "Copy the whole line that `fedvoice invite` wrote, or ask for a new one.",
                cause = cause,
            )
    }
}
