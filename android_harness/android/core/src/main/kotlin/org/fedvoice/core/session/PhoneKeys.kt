package org.fedvoice.core.session

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.io.File
import java.io.IOException
import java.security.GeneralSecurityException
import java.security.KeyFactory
import java.security.KeyPair
import java.security.KeyPairGenerator
import java.security.KeyStore
import java.security.PrivateKey
import java.security.ProviderException
import java.security.PublicKey
import java.security.spec.ECGenParameterSpec
import java.security.spec.PKCS8EncodedKeySpec
import java.security.spec.X509EncodedKeySpec

/**
 * Where a phone's key (EC P-256) lives. Reading and making throw [GeneralSecurityException],
 * [IOException] or [IllegalArgumentException] for a key that is damaged.
 */
interface PhoneKeys {
    /** The key; null: there is none. */
    fun read(): KeyPair?

    /** A new key in place of any other. */
    fun make(): KeyPair

    /** No key any more. */
    fun delete()
}

/**
 * A key in a folder's files: `key.pem` (PKCS #8), as the Python phone has it, and its other half,
 * `public.pem`, without which the certificate's key is taken.
 */
class FileKeys(private val folder: File) : PhoneKeys {
    private val keyFile = File(folder, "key.pem")
    private val publicFile = File(folder, "public.pem")
    private val certificateFile = File(folder, "certificate.pem")

    override fun read(): KeyPair? {
        if (!keyFile.isFile) return null
        val factory = KeyFactory.getInstance("EC")
        val public = publicKey(factory) ?: return null
        return KeyPair(public, factory.generatePrivate(PKCS8EncodedKeySpec(unpem(keyFile))))
    }

    override fun make(): KeyPair {
        delete() // never an old half beside a new one
        val generator = KeyPairGenerator.getInstance("EC")
        generator.initialize(ECGenParameterSpec("secp256r1"))
        val pair = generator.generateKeyPair()
        makePrivate(folder)
        writeDurably(publicFile, pem("PUBLIC KEY", pair.public.encoded))
        writeDurably(keyFile, pem("PRIVATE KEY", pair.private.encoded))
        return pair
    }

    override fun delete() {
        keyFile.delete()
        publicFile.delete()
    }

    private fun publicKey(factory: KeyFactory): PublicKey? =
        when {
            publicFile.isFile -> factory.generatePublic(X509EncodedKeySpec(unpem(publicFile)))
            certificateFile.isFile -> certificateOf(unpem(certificateFile)).publicKey
            else -> null
        }
}

/**
 * A key that a keystore keeps and signs with, and does not give away.
 *
 * @param type of the [KeyStore], such as `AndroidKeyStore`
 * @param generate makes a key under [alias] in that keystore; it may replace another
 */
class KeystoreKeys(
    private val type: String,
    private val alias: String,
    private val generate: (alias: String) -> KeyPair,
) : PhoneKeys {
    override fun read(): KeyPair? {
        val store = store()
        val key = store.getKey(alias, null) as? PrivateKey ?: return null
        val certificate = store.getCertificate(alias) ?: return null
        return KeyPair(certificate.publicKey, key)
    }

    override fun make(): KeyPair {
        delete()
        return generate(alias)
    }

    override fun delete() {
        val store = store()
        if (store.containsAlias(alias)) store.deleteEntry(alias)
    }

    private fun store(): KeyStore = KeyStore.getInstance(type).apply { load(null) }
}

/**
 * The [first] place that can make a key, the [second] where it cannot: some phones have a keystore
 * that fails. A key that is in the second place already, made by an earlier version, stays there.
 *
 * @param log told why there is no key in the first place
 */
class FirstOfKeys(
    private val first: PhoneKeys,
    private val second: PhoneKeys,
    private val log: (String) -> Unit,
) : PhoneKeys {
    /**
     * @throws FedvoiceException `not-writable` if the first place fails: it may hold the phone's
     *   key and give it again later
     */
    override fun read(): KeyPair? =
        second.read() ?: tried({ throw unavailable(it) }) { first.read() }

    override fun make(): KeyPair {
        second.delete()
        return tried(::madeInFiles) { first.make() }
    }

    override fun delete() {
        tried({ log("the keystore deletes no key: $it") }) { first.delete() }
        second.delete()
    }

    private fun madeInFiles(error: Exception): KeyPair {
        log("the keystore makes no key: $error")
        return second.make()
    }

    private fun <T> tried(failed: (Exception) -> T, work: () -> T): T =
        try {
            work()
        } catch (error: GeneralSecurityException) {
            failed(error)
        } catch (error: IOException) {
            failed(error)
        } catch (error: ProviderException) {
            failed(error)
        }

    private fun unavailable(error: Exception) =
        FedvoiceException(
            ErrorCode.NOT_WRITABLE,
            where = "the phone's keystore",
            got = error.toString(),
            wanted = "the phone's key",
            nextStep = "The next session tries again; if it stays so, start the phone anew.",
            cause = error,
        )
}

internal fun makePrivate(folder: File) {
    folder.mkdirs()
    folder.setReadable(false, false)
    folder.setReadable(true, true)
    folder.setExecutable(false, false)
    folder.setExecutable(true, true)
}
