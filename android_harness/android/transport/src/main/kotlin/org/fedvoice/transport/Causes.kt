package org.fedvoice.transport

import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.withContext
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.session.CallFailure
import org.fedvoice.core.session.Credentials
import org.fedvoice.core.session.hostOf
import org.fedvoice.core.session.portOf
import java.io.IOException
import java.net.InetSocketAddress
import java.net.Socket
import java.net.SocketException
import java.security.cert.CertificateException
import java.security.cert.X509Certificate
import java.util.concurrent.atomic.AtomicBoolean
import javax.net.ssl.SSLContext
import javax.net.ssl.SSLException
import javax.net.ssl.SSLSocket
import javax.net.ssl.X509TrustManager

/**
 * Why a server cannot be called, found by one plain look at it after the first failure; the
 * counterpart of `device_runtime/causes.py`.
 *
 * gRPC says UNAVAILABLE for a server that is away, one without TLS, one of another authority and
 * one that refuses the phone's certificate; under TLS 1.3 without a word more.
 *
 * @param server HOST:PORT
 * @param authority whom the phone trusts; null: it calls without TLS
 * @param own what the phone shows; null: it has no certificate yet
 */
internal class Causes(
    private val server: String,
    private val authority: () -> X509Certificate?,
    private val own: () -> Credentials?,
) {
    private val looked = AtomicBoolean()

    /**
     * Makes a call; the first failure since the last success is looked into.
     *
     * @throws FedvoiceException what the look found, in place of the failure
     * @throws CallFailure
     */
    suspend fun <T> explained(name: String, call: suspend () -> T): T =
        try {
            call().also { looked.set(false) }
        } catch (error: CallFailure) {
            val isNew = error.status == UNAVAILABLE && !looked.getAndSet(true)
            throw (if (isNew) look("$name at $server") else null) ?: error
        }

    /** Three connections at most, each of 5 s at most. */
    private suspend fun look(where: String): FedvoiceException? =
        withContext(Dispatchers.IO) {
            val trusted = authority()
            val kind = if (trusted == null) withoutTls() else withTls(trusted)
            kind?.asError(where)
        }

    private fun withoutTls(): Cause? {
        val answer = firstAnswer() ?: return null
        return if (isSettings(answer) || !speaksTls()) null else Cause.WantsTls
    }

    private fun withTls(trusted: X509Certificate): Cause? {
        val credentials = own()
        if (credentials != null && !credentials.certificate.holds()) return null
        val seen = Seen(trustManagerOf(trusted))
        return try {
            // A server that does not take the phone's certificate ends the connection where its
            // settings are due (TLS 1.3), mostly without an alert. So does one that is just being
            // stopped, but not twice.
            val ended = (1..2).all { isEndedAfterHandshake(seen, credentials) }
            Cause.Refused.takeIf { ended && credentials != null }
        } catch (error: IOException) {
            val shown = seen.certificate
            when {
                shown != null && error.isUntrusted() -> faultOf(shown, trusted, hostOf(server))
                isAboutCertificates(error) -> Cause.Refused
                else -> plainAnswer()
            }
        }
    }

    private fun plainAnswer(): Cause? {
        val answer = firstAnswer() ?: return null
        return when {
            isSettings(answer) -> Cause.WithoutTls
            String(answer, Charsets.ISO_8859_1).startsWith("HTTP/1") -> Cause.WebPage
            else -> null
        }
    }

    private fun speaksTls(): Boolean {
        val seen = Seen(TrustsNobody)
        try {
            isEndedAfterHandshake(seen, null)
        } catch (_: IOException) {
            // A server that showed a certificate speaks TLS, whatever came then.
        }
        return seen.certificate != null
    }

    private fun isEndedAfterHandshake(seen: Seen, credentials: Credentials?): Boolean {
        val context = SSLContext.getInstance("TLS")
        val keys = credentials?.let { arrayOf(OneKey { it }) }
        context.init(keys, arrayOf(seen), null)
        return connected().use { plain ->
            val port = portOf(server)
            val socket = context.socketFactory.createSocket(plain, hostOf(server), port, true)
            (socket as SSLSocket).use { secure ->
                val canTell = secure.prepare()
                secure.startHandshake()
                canTell && secure.endsAfterPreface()
            }
        }
    }

    /** First bytes without encryption; empty: it ended without any; null: nobody is there. */
    private fun firstAnswer(): ByteArray? {
        val socket =
            try {
                connected()
            } catch (_: IOException) {
                return null
            }
        return socket.use {
            val answer = ByteArray(FRAME_BYTES)
            try {
                it.getOutputStream().write(PREFACE)
                answer.copyOf(maxOf(0, it.getInputStream().read(answer)))
            } catch (_: IOException) {
                ByteArray(0)
            }
        }
    }

    private fun connected(): Socket =
        Socket().apply {
            soTimeout = LOOK_MILLIS
            connect(InetSocketAddress(hostOf(server), portOf(server)), LOOK_MILLIS)
        }

    private companion object {
        const val UNAVAILABLE = "UNAVAILABLE"
        const val LOOK_MILLIS = 5000
    }
}

/** Remembers the certificate that a server shows and leaves the judgement to another. */
private class Seen(private val judge: X509TrustManager) : X509TrustManager by judge {
    var certificate: X509Certificate? = null
        private set

    override fun checkServerTrusted(chain: Array<X509Certificate>, authType: String?) {
        certificate = chain.firstOrNull()
        judge.checkServerTrusted(chain, authType)
    }
}

/** For a look that must not lead to a call. */
private object TrustsNobody : X509TrustManager {
    override fun checkClientTrusted(chain: Array<X509Certificate>, authType: String?) = refuse()

    override fun checkServerTrusted(chain: Array<X509Certificate>, authType: String?) = refuse()

    override fun getAcceptedIssuers(): Array<X509Certificate> = emptyArray()

    private fun refuse(): Nothing = throw CertificateException("a look, not a call")
}

/** An end comes as such, or as a broken connection to whoever still writes. */
private fun SSLSocket.endsAfterPreface(): Boolean =
    try {
        outputStream.write(PREFACE)
        outputStream.flush()
        inputStream.read() < 0
    } catch (_: SocketException) {
        true
    }

/** Names are checked, and HTTP/2 is asked for; whether the phone's Android can ask (API 29). */
private fun SSLSocket.prepare(): Boolean {
    val wanted = sslParameters
    wanted.endpointIdentificationAlgorithm = "HTTPS"
    val canAsk =
        try {
            wanted.applicationProtocols = arrayOf("h2")
            true
        } catch (_: NoSuchMethodError) {
            false
        }
    sslParameters = wanted
    return canAsk
}

private fun X509Certificate.holds(): Boolean =
    try {
        checkValidity()
        true
    } catch (_: CertificateException) {
        false
    }

private fun Throwable.isUntrusted(): Boolean =
    this is SSLException && generateSequence(cause) { it.cause }.any { it is CertificateException }

private fun isSettings(answer: ByteArray): Boolean =
    answer.size > TYPE_AT && answer[TYPE_AT] == SETTINGS && answer[0] == 0.toByte()

private const val FRAME_BYTES = 9
private const val TYPE_AT = 3
private const val SETTINGS: Byte = 4

/** How an HTTP/2 client begins, with empty settings (RFC 9113, section 3.4). */
private val PREFACE =
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".toByteArray() +
        ByteArray(FRAME_BYTES).also { it[TYPE_AT] = SETTINGS }
