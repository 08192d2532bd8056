package org.fedvoice.transport

import io.grpc.Status
import org.fedvoice.core.session.CallFailure
import org.fedvoice.core.session.FailureKind
import java.io.EOFException
import java.net.SocketException
import java.security.cert.CertificateException
import java.security.cert.X509Certificate
import java.text.SimpleDateFormat
import java.util.Locale
import javax.net.ssl.SSLException

/** Codes after which the same call may work later; those of `device_runtime/retries.py`. */
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

/** Codes with which a server refuses who the phone is. */
private val REFUSED = setOf(Status.Code.UNAUTHENTICATED, Status.Code.PERMISSION_DENIED)

/**
 * What a failed gRPC call means for the phone.
 *
 * With TLS 1.3 a server that refuses the phone's certificate shows itself as a connection that
 * breaks, hence the look at the dates of [shown].
 */
internal fun failureOf(error: Throwable, shown: X509Certificate? = null): CallFailure {
    val status = Status.fromThrowable(error)
    val causes = generateSequence(error) { it.cause }.take(MAX_CAUSES).toList()
    val untrusted = causes.firstOrNull(::isAboutCertificates)
    val expired = shown?.let(::whyNotValid)
    val kind =
        when {
            untrusted != null || status.code in REFUSED -> FailureKind.CREDENTIALS
            expired != null && status.code == Status.Code.UNAVAILABLE -> FailureKind.CREDENTIALS
            status.code in TRANSIENT -> FailureKind.TRANSIENT
            else -> FailureKind.REJECTED
        }
    val said = untrusted?.message ?: status.description ?: causes.last().message.orEmpty()
    val text = if (kind == FailureKind.CREDENTIALS && expired != null) "$said; $expired" else said
    return CallFailure(kind, status.code.name, text, error)
}

/** Why a certificate does not hold by this device's clock; null: it does. */
private fun whyNotValid(certificate: X509Certificate): String? =
    try {
        certificate.checkValidity()
        null
    } catch (_: CertificateException) {
        val days = SimpleDateFormat("yyyy-MM-dd", Locale.ROOT)
        val from = days.format(certificate.notBefore)
        "the phone's certificate holds from $from to ${days.format(certificate.notAfter)}"
    }

/** A call that ended well without an answer. */
internal fun unanswered(): CallFailure =
    CallFailure(FailureKind.TRANSIENT, Status.Code.UNAVAILABLE.name, "the stream ended early")

/**
 * Whether this side or the other refused a certificate. A connection that merely broke in the
 * handshake is an SSLException too, with the break as its cause.
 */
internal fun isAboutCertificates(error: Throwable): Boolean =
    when (error) {
        is CertificateException -> {
            true
        }
        is SSLException -> {
            val broken = error.cause is EOFException || error.cause is SocketException
            val text = error.message.orEmpty().uppercase()
            !broken && "ALERT" in text && ALERTS.any { it in text }
        }
        else -> {
            false
        }
    }

/** TLS alerts by their names in the JDK (bad_certificate) and Conscrypt (ALERT_BAD_CERTIFICATE). */
private val ALERTS = listOf("CERTIFICATE", "UNKNOWN_CA", "UNKNOWN CA", "ACCESS_DENIED")

private const val MAX_CAUSES = 12
