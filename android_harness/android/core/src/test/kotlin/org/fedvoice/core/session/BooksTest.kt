package org.fedvoice.core.session

import org.fedvoice.core.training.UsageCounts
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

class BooksTest {
    @Test
    fun `books of an earlier version are read, without a usage`() {
        val earlier = Books.parse("""{"sessions":3,"trained":2,"last_happened":"trained"}""")
        assertEquals(2, earlier.trained)
        assertNull(earlier.usage)
    }

    @Test
    fun `the usage is kept in numbers and reasons`() {
        val books = Books(usage = UsageCounts(12, mapOf("unknown-token" to 1)))
        val text = books.toJson()
        assertTrue(text.endsWith(""""usage":{"used":12,"left_out":{"unknown-token":1}}}"""), text)
        assertEquals(books, Books.parse(text))
        assertEquals(books.usage, books.plusFailure("io", 1.0).usage)
    }

    @Test
    fun `a failed session counts what it sent, and only an answer ends a row of failures`() {
        val traffic = Traffic().apply { repeat(5) { called() } }
        val failed = Books().plusFailure("server-unreachable", 1.0, traffic)
        assertEquals(5, failed.attempts)
        val notReady = Outcome(Happened.NOT_READY, 60.0)
        assertEquals(1, failed.plus(notReady, 0, 2.0).failures)
        assertEquals(0, failed.plus(notReady.copy(attempts = 1), 0, 2.0).failures)
    }
}
