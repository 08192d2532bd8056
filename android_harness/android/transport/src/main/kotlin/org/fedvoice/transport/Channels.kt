package org.fedvoice.transport

import io.grpc.InsecureChannelCredentials
import io.grpc.ManagedChannel
import io.grpc.TlsChannelCredentials
import io.grpc.okhttp.OkHttpChannelBuilder
import org.fedvoice.core.session.Credentials
import java.net.Socket
import java.security.KeyStore
import java.security.Principal
import java.security.PrivateKey
import java.security.cert.X509Certificate
import java.util.concurrent.TimeUnit
import javax.net.ssl.SSLEngine
import javax.net.ssl.TrustManager
import javax.net.ssl.TrustManagerFactory
import javax.net.ssl.X509ExtendedKeyManager
import javax.net.ssl.X509TrustManager

/** A channel without encryption: for one machine or a private network, never by default. */
fun insecureChannel(server: String): FreshChannel =
    FreshChannel {
        patient(OkHttpChannelBuilder.forTarget(server, InsecureChannelCredentials.create()))
    }

/**
 * A channel to the main address: TLS both ways, the server's own authority as the only one trusted.
 *
 * @param credentials read at every handshake, so that a renewed certificate is shown from then on
 */
fun secureChannel(credentials: () -> Credentials): FreshChannel {
    val first = credentials()
    val tls =
        TlsChannelCredentials
            .newBuilder()
            .trustManager(*trusting(first.authority))
            .keyManager(OneKey(credentials))
            .build()
    return FreshChannel { patient(OkHttpChannelBuilder.forTarget(first.server, tls)) }
}

/** A channel to the enrolment address, where the phone has no certificate yet. */
fun enrolmentChannel(address: String, authority: X509Certificate): ManagedChannel {
    val tls = TlsChannelCredentials.newBuilder().trustManager(*trusting(authority)).build()
    return patient(OkHttpChannelBuilder.forTarget(address, tls))
}

/** Ends a channel and what it has under way. */
internal fun ManagedChannel.end() {
    shutdownNow().awaitTermination(END_SECS, TimeUnit.SECONDS)
}

private fun patient(builder: OkHttpChannelBuilder): ManagedChannel =
    builder
        // A lost network is noticed while a call waits; no ping wakes the radio between calls.
        .keepAliveTime(KEEP_ALIVE_SECS, TimeUnit.SECONDS)
        .keepAliveTimeout(KEEP_ALIVE_TIMEOUT_SECS, TimeUnit.SECONDS)
        .keepAliveWithoutCalls(false)
        // Attempts are counted by the session; gRPC would try each a second time by itself.
        .disableRetry()
        // gRPC's own 64 KB would hold a line of 300 ms to 200 KB/s. With much more, what a slow
        // line has not brought yet looks to the server as if the phone took nothing.
        .flowControlWindow(WINDOW_BYTES)
        .build()

/** The judge of certificates that [authority] alone has signed. */
internal fun trustManagerOf(authority: X509Certificate): X509TrustManager =
    trusting(authority).filterIsInstance<X509TrustManager>().first()

private fun trusting(authority: X509Certificate): Array<TrustManager> {
    val store = KeyStore.getInstance(KeyStore.getDefaultType())
    store.load(null, null)
    store.setCertificateEntry("authority", authority)
    val factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm())
    factory.init(store)
    return factory.trustManagers
}

/** Shows one certificate, whatever is asked for; the key may be one that only signs (Keystore). */
internal class OneKey(private val credentials: () -> Credentials) : X509ExtendedKeyManager() {
    override fun getClientAliases(keyType: String?, issuers: Array<Principal>?): Array<String> =
        arrayOf(ALIAS)

    override fun chooseClientAlias(
        keyType: Array<String>?,
        issuers: Array<Principal>?,
        socket: Socket?,
    ): String = ALIAS

    override fun chooseEngineClientAlias(
        keyType: Array<String>?,
        issuers: Array<Principal>?,
        engine: SSLEngine?,
    ): String = ALIAS

    override fun getCertificateChain(alias: String?): Array<X509Certificate> =
        arrayOf(credentials().certificate)

    override fun getPrivateKey(alias: String?): PrivateKey = credentials().key

    override fun getServerAliases(keyType: String?, issuers: Array<Principal>?): Array<String>? =
        null

    override fun chooseServerAlias(
        keyType: String?,
        issuers: Array<Principal>?,
        socket: Socket?,
    ): String? = null

    private companion object {
        const val ALIAS = "fedvoice"
    }
}

private const val KEEP_ALIVE_SECS = 20L
private const val KEEP_ALIVE_TIMEOUT_SECS = 20L
private const val WINDOW_BYTES = 1 shl 18
private const val END_SECS = 5L
