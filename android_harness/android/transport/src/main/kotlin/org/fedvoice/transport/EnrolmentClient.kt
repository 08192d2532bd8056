package org.fedvoice.transport

import com.google.protobuf.ByteString
import io.grpc.Channel
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.session.Credentials
import org.fedvoice.core.session.Identity
import org.fedvoice.core.session.Invitation
import org.fedvoice.core.session.Retries
import org.fedvoice.core.session.certificateOf
import org.fedvoice.core.session.certificateRequest
import org.fedvoice.wire.EnrolReply
import org.fedvoice.wire.EnrolRequest
import org.fedvoice.wire.EnrolmentGrpc
import org.fedvoice.wire.RenewRequest
import java.security.GeneralSecurityException
import java.security.cert.X509Certificate

/**
 * Gets the phone a certificate with an invitation; the same invitation given again costs nothing.
 *
 * The key is made once and kept, so that neither does a lost reply: the same token with the same
 * key is answered again.
 *
 * @throws FedvoiceException `bad-credentials` if the token is spent or the server is not the one
 *   that the invitation names; `server-unreachable`, `server-rejected`
 */
suspend fun enrol(identity: Identity, invitation: Invitation, retries: Retries): Credentials {
    val enrolled = identity.credentials()
    if (enrolled != null && identity.usedBefore(invitation)) return enrolled
    val request =
        EnrolRequest
            .newBuilder()
            .setToken(invitation.token)
            .setCertificateRequest(requestOf(identity))
            .build()
    val channel = enrolmentChannel(invitation.enrol, invitation.trusted())
    val causes = Causes(invitation.enrol, invitation::trusted) { null }
    try {
        val reply =
            retries.repeated("Enrol", invitation.enrol) {
                causes.explained("Enrol") {
                    channel.unary(EnrolmentGrpc.getEnrolMethod(), request, TIMEOUT_SECS)
                }
            }
        identity.adopt(invitation, certificateIn(reply, "Enrol at ${invitation.enrol}"))
    } finally {
        channel.end()
    }
    return checkNotNull(identity.credentials()) { "a certificate that was just kept" }
}

/**
 * Replaces a certificate of whose life less than a third is left; whether it did. It is tried once:
 * the next session tries again.
 *
 * @param channel to the main address, with the certificate that is about to run out
 * @param nowSecs Unix time
 * @throws FedvoiceException as [enrol]
 */
suspend fun renewIfDue(
    identity: Identity,
    channel: Channel,
    nowSecs: Double,
    retries: Retries,
): Boolean {
    val credentials = identity.credentials() ?: return false
    if (!renewalDue(credentials.certificate, nowSecs)) return false
    val request = RenewRequest.newBuilder().setCertificateRequest(requestOf(identity)).build()
    val causes = Causes(credentials.server, credentials::authority) { credentials }
    val reply =
        retries.once().repeated("Renew", credentials.server) {
            causes.explained("Renew") {
                channel.unary(EnrolmentGrpc.getRenewMethod(), request, TIMEOUT_SECS) {
                    credentials.certificate
                }
            }
        }
    identity.renewed(certificateIn(reply, "Renew at ${credentials.server}"))
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

private fun certificateIn(reply: EnrolReply, where: String): X509Certificate =
    try {
        certificateOf(reply.certificate.toByteArray())
    } catch (error: GeneralSecurityException) {
        throw FedvoiceException(
            ErrorCode.SERVER_REJECTED,
            where = where,
            got = "a reply without a certificate",
            wanted = "the phone's certificate",
            nextStep = "See the server's log; update the side that is older.",
            cause = error,
        )
    }

private const val TIMEOUT_SECS = 30.0
private const val MILLIS = 1e3
