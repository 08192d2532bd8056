package org.fedvoice.sdk

import android.security.keystore.KeyGenParameterSpec
import android.security.keystore.KeyProperties
import android.security.keystore.StrongBoxUnavailableException
import android.util.Log
import org.fedvoice.core.session.FileKeys
import org.fedvoice.core.session.FirstOfKeys
import org.fedvoice.core.session.KeystoreKeys
import org.fedvoice.core.session.PhoneKeys
import java.io.File
import java.security.KeyPair
import java.security.KeyPairGenerator
import java.security.spec.ECGenParameterSpec

internal const val KEY_ALIAS = "org.fedvoice.client"
private const val KEYSTORE = "AndroidKeyStore"

/**
 * The phone's key in the Android Keystore, whose hardware signs with it and gives it to nobody; in
 * [folder]'s files where the phone has no keystore that works.
 */
internal fun androidKeys(folder: File): PhoneKeys =
    FirstOfKeys(
        KeystoreKeys(KEYSTORE, KEY_ALIAS, ::generate),
        FileKeys(folder),
    ) { Log.w(TAG, it) }

private fun generate(alias: String): KeyPair =
    try {
        generate(alias, strongBox = true)
    } catch (_: StrongBoxUnavailableException) {
        generate(alias, strongBox = false)
    }

private fun generate(alias: String, strongBox: Boolean): KeyPair {
    val spec =
        KeyGenParameterSpec
            .Builder(alias, KeyProperties.PURPOSE_SIGN)
            .setAlgorithmParameterSpec(ECGenParameterSpec("secp256r1"))
            // TLS signs what it has hashed itself (DIGEST_NONE), the certificate request is hashed
            // by the keystore.
            .setDigests(KeyProperties.DIGEST_NONE, KeyProperties.DIGEST_SHA256)
            .setIsStrongBoxBacked(strongBox)
            .build()
    val generator = KeyPairGenerator.getInstance(KeyProperties.KEY_ALGORITHM_EC, KEYSTORE)
    generator.initialize(spec)
    return generator.generateKeyPair()
}
