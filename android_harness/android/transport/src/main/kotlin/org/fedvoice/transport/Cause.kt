package org.fedvoice.transport

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.security.GeneralSecurityException
import java.security.cert.CertificateException
import java.security.cert.X509Certificate

/**
 * What stands between a phone and its server. Its words are read in an app as well as in a
 * terminal: they name what is done at the server, and no option of the phone's own command.
 */
internal sealed class Cause(
    private val code: ErrorCode,
    private val got: String,
    private val wanted: String,
    private val nextStep: String,
) {
    fun asError(where: String) = FedvoiceException(code, where, got, wanted, nextStep)

    object WantsTls : Cause(
        ErrorCode.BAD_CREDENTIALS,
        "a server with TLS, called without",
        "an invitation of this server, with which the phone gets a certificate",
        "Make one with `fedvoice invite` on the server's machine and enrol this phone with it.",
    )

    object WithoutTls : Cause(
        ErrorCode.SERVER_UNREACHABLE,
        "a server without TLS; nothing was sent to it",
        INVITER,
        "Ask whoever runs the server to start `fedvoice serve` without --insecure. The phone " +
            "keeps its work.",
    )

    object WebPage : Cause(
        ErrorCode.SERVER_UNREACHABLE,
        "a web page's answer, and not fedvoice's",
        INVITER,
        "In a network with a login page, log in first; else check the address in the invitation. " +
            "The phone keeps its work.",
    )

    object Refused : Cause(
        ErrorCode.BAD_CREDENTIALS,
        "the server refuses the phone's certificate",
        CERTIFICATE,
        ASK,
    )

    object OtherAuthority : Cause(
        ErrorCode.BAD_CREDENTIALS,
        "a certificate of another authority than the invitation's: it is another server",
        CERTIFICATE,
        "Check that the address is the server's that the invitation came from and that its " +
            "store's tls/ is still the same. $ASK",
    )

    class OtherName(host: String) :
        Cause(
            ErrorCode.BAD_CREDENTIALS,
            "a server's certificate that does not name $host",
            CERTIFICATE,
            "Start the server with `fedvoice serve --name $host`, or ask for an invitation to a " +
                "name it has.",
        )

    class NotNow(why: String) :
        Cause(
            ErrorCode.BAD_CREDENTIALS,
            "a server's certificate that does not hold now: $why",
            CERTIFICATE,
            "Check the clocks of this device and of the server's; then start the server again.",
        )

    private companion object {
        const val INVITER = "the server that the invitation came from, which answers with TLS"
        const val CERTIFICATE = "a key and a certificate that the server takes"
        const val ASK =
            "Ask whoever runs the server for a new invitation. The phone keeps its work."
    }
}

/** Why the certificate that a server at [host] has [shown] was not believed. */
internal fun faultOf(shown: X509Certificate, trusted: X509Certificate, host: String): Cause {
    try {
        shown.verify(trusted.publicKey)
    } catch (_: GeneralSecurityException) {
        return Cause.OtherAuthority
    }
    try {
        shown.checkValidity()
    } catch (error: CertificateException) {
        return Cause.NotNow(error.message.orEmpty())
    }
    return Cause.OtherName(host)
}
