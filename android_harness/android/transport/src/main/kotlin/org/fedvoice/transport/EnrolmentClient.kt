package org.fedvoice.transport

import io.grpc.Channel
import com.google.protobuf.ByteString
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.session.CallFailure
import org.fedvoice.core.session.Credentials
import org.fedvoice.core.session.FailureKind
import org.fedvoice.core.session.Identity
import org.fedvoice.core.session.Invitation
import org.fedvoice.core.session.certificateOf
import org.fedvoice.core.session.certificateRequest
import org.fedvoice.wire.EnrolReply
import org.fedvoice.wire.EnrolRequest
import org.fedvoice.wire.EnrolmentGrpc
import org.fedvoice.wire.RenewRequest
import java.security.GeneralSecurityException
import java.security.cert.X509Certificate

/**
 * Gets the phone a certificate with an invitation; does nothing if it has one already.
 *
 * The key is made once and kept, so that a lost reply costs nothing: the same token with the same
 * key is answered again.
 *
 * @throws FedvoiceException `bad-credentials` if the token is spent or the server is not the one
 *   that the invitation names; `server-unreachable`, `server-rejected`
 */
suspend fun enrol(identity: Identity, invitation: Invitation): Credentials {
    identity.credentials()?.let { return it }
    val authority = invitation.trusted()
    val request =
        EnrolRequest
            .newBuilder()
            .setToken(invitation.token)
            .setCertificateRequest(requestOf(identity))
            .build()
    val channel = enrolmentChannel(invitation.enrol, authority)
    try {
        val reply =
            explained("Enrol at ${invitation.enrol}") {
                channel.unary(EnrolmentGrpc.getEnrolMethod(), request, TIMEOUT_SECS)
            }
        return kept(identity, invitation.server, reply, "Enrol at ${invitation.enrol}")
    } finally {
        channel.end()
    }
}

/**
 * Replaces a certificate of whose life less than a third is left; whether it did.
 *
 * @param channel to the main address, with the certificate that is about to run out
 * @param nowSecs Unix time
 * @throws FedvoiceException as [enrol]
 */
suspend fun renewIfDue(identity: Identity, channel: Channel, nowSecs: Double): Boolean {
    val credentials = identity.credentials() ?: return false
    if (!renewalDue(credentials.certificate, nowSecs)) return false
    val request = RenewRequest.newBuilder().setCertificateRequest(requestOf(identity)).build()
    val where = "Renew at ${credentials.server}"
    val reply =
        explained(where) { channel.unary(EnrolmentGrpc.getRenewMethod(), request, TIMEOUT_SECS) }
    kept(identity, credentials.server, reply, where)
    return true
}

/** Whether less than a third of a certificate's life is left at [nowSecs] (Unix time). */
fun renewalDue(certificate: X509Certificate, nowSecs: Double): Boolean {
    val begin = certificate.notBefore.time / MILLIS
    val end = certificate.notAfter.time / MILLIS
    return end - nowSecs < (end - begin) / 3
}

private fun requestOf(identity: Identity): ByteString =
    ByteString.copyFrom(certificateRequest(identity.key(), identity.clientId))

private fun kept(
    identity: Identity,
    server: String,
    reply: EnrolReply,
    where: String,
): Credentials {
    val certificates =
        try {
            listOf(reply.certificate, reply.authority).map { certificateOf(it.toByteArray()) }
        } catch (error: GeneralSecurityException) {
            throw FedvoiceException(
                ErrorCode.SERVER_REJECTED,
                where = where,
                got = "a reply without certificates",
                wanted = "the phone's certificate and the authority's",
                nextStep = "See the server's log; update the side that is older.",
                cause = error,
            )
        }
    identity.keep(server, certificates[0], certificates[1])
    return checkNotNull(identity.credentials()) { "a certificate that was just kept" }
}

private suspend fun <T> explained(where: String, call: suspend () -> T): T =
    try {
        call()
    } catch (error: CallFailure) {
        val transient = error.kind == FailureKind.TRANSIENT
        val refused = error.kind == FailureKind.CREDENTIALS || error.status in REFUSALS
        throw FedvoiceException(
            when {
                refused -> ErrorCode.BAD_CREDENTIALS
                transient -> ErrorCode.SERVER_UNREACHABLE
                else -> ErrorCode.SERVER_REJECTED
            },
            where = where,
            got = "${error.status}: ${error.text}",
            wanted = "a certificate for this phone",
            nextStep =
                if (refused) {
                    "Ask whoever runs the server for a new invitation and enrol again."
                } else {
                    "Check the address and that `fedvoice serve` runs, then try again."
                },
            cause = error,
        )
    }

/** How a server says that a token or a certificate is not good (any more). */
private val REFUSALS = setOf("PERMISSION_DENIED", "NOT_FOUND", "UNAUTHENTICATED")

private const val TIMEOUT_SECS = 30.0
private const val MILLIS = 1e3
