package org.fedvoice.transport

import io.grpc.Status
import org.fedvoice.core.session.CallFailure
import org.fedvoice.core.session.FailureKind
import java.io.EOFException
import java.net.SocketException
import java.security.cert.CertificateException
import javax.net.ssl.SSLException

/** Codes after which the same call may work later; those of `device_runtime/calls.py`. */
private val TRANSIENT =
    setOf(
        Status.Code.UNAVAILABLE,
        Status.Code.DEADLINE_EXCEEDED,
        Status.Code.RESOURCE_EXHAUSTED,
        Status.Code.ABORTED,
        Status.Code.CANCELLED,
        Status.Code.UNKNOWN, // a broken stream, or an error inside the server
        Status.Code.INTERNAL,
    )

/** What a failed gRPC call means for the phone. */
internal fun failureOf(error: Throwable): CallFailure {
    val status = Status.fromThrowable(error)
    val causes = generateSequence(error) { it.cause }.take(MAX_CAUSES).toList()
    val untrusted = causes.firstOrNull(::isAboutCertificates)
    val kind =
        when {
            untrusted != null || status.code == Status.Code.UNAUTHENTICATED ->
                FailureKind.CREDENTIALS
            status.code in TRANSIENT -> FailureKind.TRANSIENT
            else -> FailureKind.REJECTED
        }
    val text = untrusted?.message ?: status.description ?: causes.last().message.orEmpty()
    return CallFailure(kind, status.code.name, text, error)
}

/** A call that ended well without an answer. */
internal fun unanswered(): CallFailure =
    CallFailure(FailureKind.TRANSIENT, Status.Code.UNAVAILABLE.name, "the stream ended early")

/**
 * Whether this side or the other refused a certificate. A connection that merely broke in the
 * handshake is an SSLException too, with the break as its cause.
 */
private fun isAboutCertificates(error: Throwable): Boolean =
    when (error) {
        is CertificateException -> true
        is SSLException -> {
            val broken = error.cause is EOFException || error.cause is SocketException
            val text = error.message.orEmpty().uppercase()
            !broken && "ALERT" in text && ALERTS.any { it in text }
        }
        else -> false
    }

/** TLS alerts by their names in JDK ("bad_certificate") and Conscrypt ("..ALERT_BAD_CERTIFICATE"). */
private val ALERTS = listOf("CERTIFICATE", "UNKNOWN_CA", "UNKNOWN CA", "ACCESS_DENIED")

private const val MAX_CAUSES = 12
