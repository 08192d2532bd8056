package org.fedvoice.e2e

import android.security.keystore.KeyGenParameterSpec
import android.security.keystore.StrongBoxUnavailableException
import java.io.InputStream
import java.io.OutputStream
import java.security.Key
import java.security.KeyPair
import java.security.KeyPairGenerator
import java.security.KeyPairGeneratorSpi
import java.security.KeyStoreSpi
import java.security.PrivateKey
import java.security.Provider
import java.security.PublicKey
import java.security.SecureRandom
import java.security.Security
import java.security.Signature
import java.security.SignatureSpi
import java.security.cert.Certificate
import java.security.interfaces.ECKey
import java.security.interfaces.ECPrivateKey
import java.security.spec.AlgorithmParameterSpec
import java.security.spec.ECParameterSpec
import java.util.Collections
import java.util.Date
import java.util.Enumeration

/**
 * Stands for a phone's `AndroidKeyStore`, which a JVM has not: keys that sign and have no encoding.
 * It has no StrongBox, and refuses what that would be asked for.
 */
class OpaqueKeystore : Provider(NAME, "1.0", "keys without an encoding") {
    init {
        val digests = mapOf("SupportedKeyClasses" to OpaqueKey::class.java.name)
        add("KeyStore", NAME, Store::class.java)
        add("KeyPairGenerator", "EC", Generator::class.java)
        add("Signature", "NONEwithECDSA", OfHash::class.java, digests)
        add("Signature", "SHA256withECDSA", OfMessage::class.java, digests)
    }

    private fun add(
        type: String,
        name: String,
        made: Class<*>,
        attributes: Map<String, String>? = null,
    ) = putService(Service(this, type, name, made.name, null, attributes))

    /** A key that its keystore alone can use. */
    class OpaqueKey(internal val real: ECPrivateKey) :
        PrivateKey,
        ECKey {
        override fun getAlgorithm() = "EC"

        override fun getFormat(): String? = null

        override fun getEncoded(): ByteArray? = null

        override fun getParams(): ECParameterSpec = real.params
    }

    class Generator : KeyPairGeneratorSpi() {
        private lateinit var spec: KeyGenParameterSpec

        override fun initialize(bits: Int, random: SecureRandom?) = error("by its parameters")

        override fun initialize(spec: AlgorithmParameterSpec, random: SecureRandom?) {
            this.spec = spec as KeyGenParameterSpec
        }

        override fun generateKeyPair(): KeyPair {
            asked += spec
            if (spec.isStrongBoxBacked) throw StrongBoxUnavailableException()
            val generator = KeyPairGenerator.getInstance("EC")
            generator.initialize(spec.algorithmParameterSpec)
            val pair = generator.generateKeyPair()
            val kept = KeyPair(pair.public, OpaqueKey(pair.private as ECPrivateKey))
            keys[spec.keystoreAlias] = kept
            return kept
        }
    }

    class OfHash : Signing("NONEwithECDSA")

    class OfMessage : Signing("SHA256withECDSA")

    open class Signing(name: String) : SignatureSpi() {
        private val real = Signature.getInstance(name)

        override fun engineInitSign(key: PrivateKey) = real.initSign((key as OpaqueKey).real)

        override fun engineInitVerify(key: PublicKey) = error("it only signs")

        override fun engineUpdate(byte: Byte) = real.update(byte)

        override fun engineUpdate(bytes: ByteArray, offset: Int, length: Int) =
            real.update(bytes, offset, length)

        override fun engineSign(): ByteArray = real.sign().also { signatures++ }

        override fun engineVerify(signature: ByteArray) = error("it only signs")

        @Deprecated("as in the class above")
        override fun engineSetParameter(name: String, value: Any?) = error("none")

        @Deprecated("as in the class above")
        override fun engineGetParameter(name: String): Any = error("none")
    }

    class Store : KeyStoreSpi() {
        override fun engineLoad(stream: InputStream?, password: CharArray?) = Unit

        override fun engineGetKey(alias: String, password: CharArray?): Key? = keys[alias]?.private

        override fun engineGetCertificate(alias: String): Certificate? =
            keys[alias]?.let { OnlyKey(it.public) }

        override fun engineContainsAlias(alias: String) = alias in keys

        override fun engineDeleteEntry(alias: String) {
            keys.remove(alias)
        }

        override fun engineAliases(): Enumeration<String> = Collections.enumeration(keys.keys)

        override fun engineSize() = keys.size

        override fun engineIsKeyEntry(alias: String) = alias in keys

        override fun engineIsCertificateEntry(alias: String) = false

        override fun engineGetCertificateAlias(certificate: Certificate?): String? = null

        override fun engineGetCertificateChain(alias: String): Array<Certificate>? = null

        override fun engineGetCreationDate(alias: String): Date? = null

        override fun engineSetKeyEntry(
            alias: String,
            key: Key?,
            password: CharArray?,
            chain: Array<out Certificate>?,
        ) = error("keys are made here")

        override fun engineSetKeyEntry(
            alias: String,
            key: ByteArray?,
            chain: Array<out Certificate>?,
        ) = error("keys are made here")

        override fun engineSetCertificateEntry(alias: String, certificate: Certificate?) =
            error("keys are made here")

        override fun engineStore(stream: OutputStream?, password: CharArray?) = error("nowhere")
    }

    private class OnlyKey(private val key: PublicKey) : Certificate("key") {
        override fun getPublicKey() = key

        override fun getEncoded(): ByteArray = key.encoded

        override fun verify(key: PublicKey?) = Unit

        override fun verify(key: PublicKey?, provider: String?) = Unit

        override fun toString() = "a key's certificate"
    }

    companion object {
        const val NAME = "AndroidKeyStore"

        /** By alias. */
        val keys = mutableMapOf<String, KeyPair>()

        /** What was asked for, in order. */
        val asked = mutableListOf<KeyGenParameterSpec>()

        /** How many were made. */
        @Volatile
        var signatures = 0

        fun install() {
            keys.clear()
            asked.clear()
            signatures = 0
            Security.addProvider(OpaqueKeystore())
        }

        fun remove() = Security.removeProvider(NAME)
    }
}
