package org.fedvoice.core.session

import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

class SessionLogTest {
    @TempDir
    lateinit var folder: File
    private val file get() = File(folder, "sessions.jsonl")
    private val log get() = SessionLog(file)

    @Test
    fun `sessions are told newest first`() {
        log.add(record(1).copy(happened = "trained", examples = 12))
        log.add(record(2).copy(happened = "server-unreachable", round = null))

        val told = log.read()

        assertEquals(listOf(2.0, 1.0), told.map { it.endedSecs })
        assertEquals(record(1).copy(happened = "trained", examples = 12), told.last())
    }

    @Test
    fun `a session without a byte is none`() {
        log.add(record(1).copy(bytesUp = 0, bytesDown = 0))

        assertEquals(emptyList<SessionRecord>(), log.read())
    }

    @Test
    fun `what a killed process left half costs that line alone`() {
        log.add(record(1))
        file.appendText("\n{\"ended_secs\":2.0,\"happ")
        log.add(record(3))

        assertEquals(listOf(3.0, 1.0), log.read().map { it.endedSecs })
    }

    @Test
    fun `the file stays small, and the newest sessions stay in it`() {
        repeat(2500) { log.add(record(it)) }

        val told = log.read()

        assertEquals((2499 downTo 1500).toList(), told.take(1000).map { it.endedSecs.toInt() })
        assertTrue(told.size <= 2000, "${told.size} lines")
    }

    private fun record(secs: Int) =
        SessionRecord(secs.toDouble(), "no-work", round = 3, bytesUp = 10, bytesDown = 20)
}
