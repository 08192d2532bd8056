package org.fedvoice.core.session

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.io.File
import java.io.IOException
import java.security.GeneralSecurityException
import java.security.KeyPair
import java.security.PrivateKey
import java.security.cert.X509Certificate
import java.util.UUID

/**
 * What an enrolled phone shows and trusts.
 *
 * @property server HOST:PORT of the main address
 * @property key of [certificate]; it may live in a keystore and only sign
 * @property authority the only one whose servers the phone talks to
 */
class Credentials(
    val server: String,
    val key: PrivateKey,
    val certificate: X509Certificate,
    val authority: X509Certificate,
)

/** Who a phone is. On Android the key may live in the Keystore: then this is implemented there. */
interface Identity {
    /** Random, made once at installation; tied to nothing. */
    val clientId: String

    /** The phone's key (EC P-256), made at the first call. */
    fun key(): KeyPair

    /** What enrolment left; null: not enrolled. */
    fun credentials(): Credentials?

    /** Whether the phone was enrolled with that invitation. */
    fun usedBefore(invitation: Invitation): Boolean

    /** Keeps what an enrolment gave: the certificate, and what the invitation said. */
    fun adopt(invitation: Invitation, certificate: X509Certificate)

    /** Keeps a new certificate for the same key. */
    fun renewed(certificate: X509Certificate)

    /** Forgets key and certificates. */
    fun forget()
}

/**
 * An identity in files: `client_id` beside `identity/`, in which `certificate.pem`, `authority.pem`
 * and `server` (HOST:PORT) lie, as the Python phone has them.
 *
 * @param keys where the key is; by default in the same folder
 */
class FileIdentity(
    stateDir: File,
    givenId: String = "",
    private val keys: PhoneKeys = FileKeys(File(stateDir, "identity")),
) : Identity {
    private val folder = File(stateDir, "identity")
    private val certificateFile = File(folder, "certificate.pem")
    private val authorityFile = File(folder, "authority.pem")
    private val serverFile = File(folder, "server")
    private val invitationFile = File(folder, "invitation")

    override val clientId: String by lazy { ownName(File(stateDir, "client_id"), givenId) }

    override fun key(): KeyPair = readable { presentKey() ?: keys.make() }

    override fun credentials(): Credentials? {
        if (!certificateFile.isFile) return null
        return readable {
            // A keystore may lose its keys: a certificate without one is of no use.
            val pair = keys.read() ?: return null
            Credentials(
                server = serverFile.readText().trim(),
                key = pair.private,
                certificate = certificateOf(unpem(certificateFile)),
                authority = certificateOf(unpem(authorityFile)),
            )
        }
    }

    override fun usedBefore(invitation: Invitation): Boolean =
        invitationFile.isFile && invitationFile.readText().trim() == invitation.digest

    override fun adopt(invitation: Invitation, certificate: X509Certificate) {
        checkOwn(certificate)
        makePrivate(folder)
        // Written last: what has a certificate is complete.
        certificateFile.delete()
        writeDurably(authorityFile, pem("CERTIFICATE", invitation.trusted().encoded))
        writeDurably(serverFile, "${invitation.server}\n".toByteArray())
        writeDurably(invitationFile, "${invitation.digest}\n".toByteArray())
        writeDurably(certificateFile, pem("CERTIFICATE", certificate.encoded))
    }

    override fun renewed(certificate: X509Certificate) {
        checkOwn(certificate)
        writeDurably(certificateFile, pem("CERTIFICATE", certificate.encoded))
    }

    private fun checkOwn(certificate: X509Certificate) {
        if (certificate.publicKey == key().public && nameOf(certificate) == clientId) return
        throw FedvoiceException(
            ErrorCode.BAD_CREDENTIALS,
            where = "the server's answer",
            got = "a certificate that is not for this phone's key and name",
            wanted = "a key and a certificate that the server takes",
            nextStep = "Update the side that is older; ask for a new invitation.",
        )
    }

    override fun forget() {
        keys.delete()
        folder.deleteRecursively()
    }

    /** A key that cannot be read for now is kept, if there is a certificate for it. */
    private fun presentKey(): KeyPair? =
        try {
            keys.read()
        } catch (error: FedvoiceException) {
            if (certificateFile.isFile) throw error
            null
        }

    private inline fun <T> readable(read: () -> T): T =
        try {
            read()
        } catch (error: GeneralSecurityException) {
            throw damaged(error)
        } catch (error: IOException) {
            throw damaged(error)
        } catch (error: IllegalArgumentException) {
            throw damaged(error)
        }

    private fun damaged(error: Exception) =
        FedvoiceException(
            ErrorCode.BAD_CREDENTIALS,
            where = folder.path,
            got = error.message.orEmpty(),
            wanted = "the key and the certificates that enrolment left",
            nextStep = "Delete that folder and enrol again with a new invitation.",
            cause = error,
        )
}

/** The certificate's, or the name given, or the one made at the first start. */
private fun FileIdentity.ownName(file: File, given: String): String {
    val enrolled = credentials()?.let { nameOf(it.certificate) }
    if (enrolled != null) {
        if (given.isEmpty() || given == enrolled) return enrolled
        throw FedvoiceException(
            ErrorCode.BAD_CONFIG,
            where = "the client_id",
            got = given,
            wanted = "$enrolled, the name that this phone is enrolled under",
            nextStep = "Leave it out, or take another folder for another phone.",
        )
    }
    if (given.isNotEmpty()) return given
    if (!file.isFile) {
        file.absoluteFile.parentFile.mkdirs()
        writeAtomically(
            file,
            UUID
                .randomUUID()
                .toString()
                .replace("-", "")
                .toByteArray(),
        )
    }
    return file.readText(Charsets.US_ASCII).trim()
}
