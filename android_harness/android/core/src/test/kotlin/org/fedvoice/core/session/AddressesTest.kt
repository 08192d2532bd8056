package org.fedvoice.core.session

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.params.ParameterizedTest
import org.junit.jupiter.params.provider.ValueSource
import java.util.Base64

class AddressesTest {
    @ParameterizedTest
    @ValueSource(
        strings =
            ["0.0.0.0:1", "[::]:1", "::0:1", "0:1", "*:1", "[::ffff:0.0.0.0]:1"],
    )
    fun `an address to listen on is not called`(address: String) {
        assertTrue(isWildcard(address))
        for (text in listOf(invitation(server = address), invitation(enrol = address))) {
            val error = assertThrows<FedvoiceException> { Invitation.parse(text) }
            assertEquals(ErrorCode.BAD_CREDENTIALS, error.code)
            assertTrue("listen on" in error.got, error.got)
        }
    }

    @ParameterizedTest
    @ValueSource(strings = ["localhost:1", "10.0.0.1:8700", "[::1]:8700", "speech.example:65535"])
    fun `an address of a machine is called`(address: String) {
        assertTrue(isAddress(address))
        assertFalse(isWildcard(address))
        assertEquals(address, Invitation.parse(invitation(server = address)).server)
    }

    @Test
    fun `what is no address is named`() {
        for (text in listOf("", "localhost", "localhost:", ":80", "a:http", "a:99999", "a:0")) {
            assertFalse(isAddress(text), text)
            val error = assertThrows<FedvoiceException> { Invitation.parse(invitation(text)) }
            assertTrue("the address" in error.got, error.got)
        }
    }

    private fun invitation(server: String = "host:1", enrol: String = "host:2"): String {
        val json = """{"server":"$server","enrol":"$enrol","authority":"a","token":"t"}"""
        val body = Base64.getUrlEncoder().withoutPadding().encodeToString(json.toByteArray())
        return "fedvoice1:$body"
    }
}
