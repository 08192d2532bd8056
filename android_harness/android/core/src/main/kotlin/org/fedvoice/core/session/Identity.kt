package org.fedvoice.core.session

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.io.ByteArrayInputStream
import java.io.File
import java.io.IOException
import java.security.GeneralSecurityException
import java.security.KeyFactory
import java.security.KeyPair
import java.security.KeyPairGenerator
import java.security.PrivateKey
import java.security.cert.CertificateFactory
import java.security.cert.X509Certificate
import java.security.interfaces.ECPrivateKey
import java.security.spec.ECGenParameterSpec
import java.security.spec.PKCS8EncodedKeySpec
import java.security.spec.X509EncodedKeySpec
import java.util.Base64
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

    /** Keeps what enrolment or a renewal gave; what was kept before is whole until then. */
    fun keep(server: String, certificate: X509Certificate, authority: X509Certificate)

    /** Forgets key and certificates. */
    fun forget()
}

/**
 * An identity in files: `client_id` beside `identity/`, in which `key.pem` (PKCS #8),
 * `certificate.pem`, `authority.pem` and `server` (HOST:PORT) lie, as the Python phone has them.
 * `public.pem` is the key's other half until there is a certificate.
 */
class FileIdentity(stateDir: File, givenId: String = "") : Identity {
    private val folder = File(stateDir, "identity")
    private val keyFile = File(folder, "key.pem")
    private val publicFile = File(folder, "public.pem")
    private val certificateFile = File(folder, "certificate.pem")
    private val authorityFile = File(folder, "authority.pem")
    private val serverFile = File(folder, "server")

    override val clientId: String = givenId.ifEmpty { ownName(File(stateDir, "client_id")) }

    override fun key(): KeyPair {
        credentials()?.let { return KeyPair(it.certificate.publicKey, it.key) }
        if (!keyFile.isFile || !publicFile.isFile) {
            val pair = newKey()
            makePrivate(folder)
            writeDurably(publicFile, pem("PUBLIC KEY", pair.public.encoded))
            writeDurably(keyFile, pem("PRIVATE KEY", pair.private.encoded))
        }
        return readable {
            val encoded = X509EncodedKeySpec(unpem(publicFile))
            KeyPair(KeyFactory.getInstance("EC").generatePublic(encoded), privateKey())
        }
    }

    override fun credentials(): Credentials? {
        if (!certificateFile.isFile) return null
        return readable {
            Credentials(
                server = serverFile.readText().trim(),
                key = privateKey(),
                certificate = certificateOf(unpem(certificateFile)),
                authority = certificateOf(unpem(authorityFile)),
            )
        }
    }

    override fun keep(server: String, certificate: X509Certificate, authority: X509Certificate) {
        makePrivate(folder)
        writeDurably(authorityFile, pem("CERTIFICATE", authority.encoded))
        writeDurably(serverFile, "$server\n".toByteArray())
        // Written last: what has one is complete.
        writeDurably(certificateFile, pem("CERTIFICATE", certificate.encoded))
    }

    override fun forget() {
        folder.deleteRecursively()
    }

    private fun privateKey(): PrivateKey =
        readable {
            KeyFactory.getInstance("EC").generatePrivate(PKCS8EncodedKeySpec(unpem(keyFile)))
                as ECPrivateKey
        }

    private fun <T> readable(read: () -> T): T =
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

/** The name made at the first start. */
private fun ownName(file: File): String {
    if (!file.isFile) {
        file.absoluteFile.parentFile.mkdirs()
        writeAtomically(file, UUID.randomUUID().toString().replace("-", "").toByteArray())
    }
    return file.readText(Charsets.US_ASCII).trim()
}

private fun newKey(): KeyPair {
    val generator = KeyPairGenerator.getInstance("EC")
    generator.initialize(ECGenParameterSpec("secp256r1"))
    return generator.generateKeyPair()
}

/** @throws GeneralSecurityException if [der] is no certificate */
fun certificateOf(der: ByteArray): X509Certificate =
    CertificateFactory
        .getInstance("X.509")
        .generateCertificate(ByteArrayInputStream(der)) as X509Certificate

/** The DER bytes of the first block of a PEM text. */
fun unpem(text: String): ByteArray {
    val lines = text.lines().map(String::trim)
    val begin = lines.indexOfFirst { it.startsWith("-----BEGIN ") }
    val end = lines.indexOfFirst { it.startsWith("-----END ") }
    require(begin in 0 until end) { "no PEM block" }
    return Base64.getDecoder().decode(lines.subList(begin + 1, end).joinToString(""))
}

private fun unpem(file: File): ByteArray = unpem(file.readText(Charsets.US_ASCII))

private fun pem(label: String, der: ByteArray): ByteArray {
    val body = Base64.getMimeEncoder(PEM_COLUMNS, "\n".toByteArray()).encodeToString(der)
    return "-----BEGIN $label-----\n$body\n-----END $label-----\n".toByteArray()
}

private const val PEM_COLUMNS = 64

private fun makePrivate(folder: File) {
    folder.mkdirs()
    folder.setReadable(false, false)
    folder.setReadable(true, true)
    folder.setExecutable(false, false)
    folder.setExecutable(true, true)
}
