package org.fedvoice.core.session

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File
import java.io.IOException
import java.security.KeyPair
import java.security.KeyPairGenerator
import java.security.KeyStoreException
import java.security.ProviderException

class PhoneKeysTest {
    @TempDir
    lateinit var folder: File

    private val files get() = FileKeys(folder)
    private val said = mutableListOf<String>()

    @Test
    fun `a key in files is read as it was made, and half a key is none`() {
        assertNull(files.read())
        val made = files.make()

        assertArrayEquals(made.private.encoded, checkNotNull(files.read()).private.encoded)
        assertEquals(made.public, checkNotNull(files.read()).public)
        File(folder, "public.pem").delete()
        assertNull(files.read())
    }

    @Test
    fun `a key is made in the keystore, and nowhere else`() {
        val keystore = HeldKeys()
        val keys = FirstOfKeys(keystore, files, said::add)

        val made = keys.make()

        assertEquals(made, keystore.key)
        assertEquals(made, keys.read())
        assertEquals(emptyList<String>(), folder.list()?.toList())
        keys.delete()
        assertNull(keys.read())
        assertTrue(said.isEmpty())
    }

    @Test
    fun `a phone whose keystore fails keeps its key in files, and says so`() {
        val failures =
            listOf(
                KeyStoreException("no such store"),
                ProviderException("busy"),
                IOException("bad"),
            )
        for (failure in failures) {
            said.clear()
            val keys = FirstOfKeys(HeldKeys { throw failure }, files, said::add)
            keys.delete()

            val made = FileIdentity(folder, keys = keys).key()

            assertEquals(made.public, checkNotNull(keys.read()).public)
            assertTrue(said.any { failure.message.orEmpty() in it }, said.toString())
        }
    }

    @Test
    fun `a key that an earlier version left in files stays the phone's key`() {
        val old = files.make()

        val keys = FirstOfKeys(HeldKeys(), files, said::add)

        assertEquals(old.public, checkNotNull(keys.read()).public)
    }

    @Test
    fun `a new key leaves no old one behind`() {
        files.make()

        FirstOfKeys(HeldKeys(), files, said::add).make()

        assertNull(files.read())
        assertFalse(File(folder, "key.pem").exists())
    }

    @Test
    fun `an enrolled phone whose keystore fails for now keeps its key`() {
        var busy: Exception? = null
        val keystore = HeldKeys { busy?.let { throw it } }
        val identity = FileIdentity(folder, keys = FirstOfKeys(keystore, files, said::add))
        val own = identity.key()
        File(folder, "identity").mkdirs()
        File(folder, "identity/certificate.pem").writeText("of that key")

        for (failure in FAILURES) {
            busy = failure
            val told = assertThrows<FedvoiceException> { identity.key() }
            assertEquals(ErrorCode.NOT_WRITABLE, told.code)
            assertThrows<FedvoiceException> { identity.credentials() }
        }
        busy = null

        assertEquals(own, identity.key())
    }

    @Test
    fun `a phone whose keystore lost its key is not enrolled, and gets a new key`() {
        val keystore = HeldKeys()
        val identity = FileIdentity(folder, keys = keystore)
        val first = identity.key()
        File(folder, "identity").mkdirs()
        File(folder, "identity/certificate.pem").writeText("of the key that is lost")
        keystore.key = null

        assertNull(identity.credentials())
        assertTrue(identity.key() != first)
    }

    private class HeldKeys(private val before: () -> Unit = {}) : PhoneKeys {
        var key: KeyPair? = null

        override fun read(): KeyPair? {
            before()
            return key
        }

        override fun make(): KeyPair {
            before()
            val made = KeyPairGenerator.getInstance("EC").generateKeyPair()
            return made.also { key = it }
        }

        override fun delete() {
            before()
            key = null
        }
    }

    private companion object {
        val FAILURES =
            listOf(
                KeyStoreException("no such store"),
                ProviderException("busy"),
                IOException("bad"),
            )
    }
}
