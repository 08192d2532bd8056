package org.fedvoice.core.session

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.cancel
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.runBlocking
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Codec
import org.fedvoice.core.random.Purpose
import org.fedvoice.core.random.Stream
import org.fedvoice.core.store.Source
import org.fedvoice.core.store.Split
import org.fedvoice.core.store.StoredExample
import org.fedvoice.core.training.UsageCounts
import org.fedvoice.wire.CheckInReply
import org.fedvoice.wire.Reason
import org.fedvoice.wire.RetryWindow
import org.fedvoice.wire.Verdict
import org.fedvoice.wire.Work
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertFalse
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.assertThrows
import org.junit.jupiter.api.io.TempDir
import java.io.File

class PhoneTest {
    @TempDir
    lateinit var directory: File
    private lateinit var scene: Scene
    private val link get() = scene.link

    @BeforeEach
    fun setTheScene() {
        scene = Scene(directory)
    }

    private fun session(shouldStop: () -> Boolean = { false }): Outcome =
        runBlocking { scene.phone.runOnce(shouldStop = shouldStop) }

    private fun fails(): FedvoiceException = assertThrows { session() }

    @Test
    fun `a round of training`() {
        link.checkIns += assignment()
        val outcome = session()
        assertEquals(Happened.TRAINED, outcome.happened)
        assertEquals(4, outcome.round)
        assertEquals(1 + 3 + 1, outcome.attempts)
        val (header, payload) = link.reports.single()
        assertEquals(Codec.digestOf("anna|a1".toByteArray()).take(32), header.reportId)
        assertEquals(listOf(5, 6), header.statistics.run { listOf(examples, steps) })
        assertEquals(Codec.digestOf(payload), header.payload.digest)
        assertTrue(scene.store.examples(Split.TRAIN).all { scene.store.used[it.id] == listOf(4) })
        // The next contact is drawn from the phone's own stream, as in Python.
        val drawn = Stream(0UL, "anna", 0, Purpose.RETRY).uniform()
        assertEquals(2 + 2 * drawn, outcome.nextContactSecs)
        assertEquals(Happened.NO_WORK, session().happened)
        assertEquals(
            setOf(3),
            link.checkedIn
                .drop(1)
                .map { it.cachedDigestsCount }
                .toSet(),
        )
    }

    @Test
    fun `what is left out is said once, over restarts too, and again when the numbers change`() {
        fun recordedAt(id: Long, rate: Int) =
            StoredExample(id, null, rate, 900, "yes", Source.OWN, Split.TRAIN, 0.0)
        val leftOut = "left out: 1 wrong-sample-rate (first: stored example 9)"
        val first = "anna: 5 utterances used; $leftOut"
        scene.store.rows += recordedAt(9, 4000)
        repeat(2) { link.checkIns += assignment() }

        val books = Books().plus(session(), 0, 0.0)
        session()

        assertEquals(UsageCounts(5, mapOf("wrong-sample-rate" to 1)), books.usage)
        assertEquals(listOf(first), scene.log)
        scene.restart(said = books.usage)
        // No training: the books keep what they have.
        assertEquals(books.usage, books.plus(session(), 0, 0.0).usage)
        link.checkIns += assignment()
        session()
        assertEquals(listOf(first), scene.log)
        scene.store.rows += recordedAt(10, 16000)
        link.checkIns += assignment()
        session()
        val second = "anna: 6 utterances used; $leftOut"
        assertEquals(listOf(first, second), scene.log)
        scene.store.rows.removeAll { it.id == 9L }
        repeat(2) {
            link.checkIns += assignment()
            session()
        }
        val third = "anna: 6 utterances used, none left out"
        assertEquals(listOf(first, second, third), scene.log)
    }

    @Test
    fun `while nothing is left out the log says nothing of it, the books do`() {
        link.checkIns += assignment()
        val outcome = session()
        assertEquals(UsageCounts(5), outcome.usage)
        assertTrue(scene.log.isEmpty())
    }

    @Test
    fun `whatever weights are sent as, a phone trains from what they decode to`() {
        val size = MANIFEST.parameters.totalSize
        val exact = Codec.decode(WEIGHTS, "float32", size, "test")
        for (encoding in Codec.ENCODINGS) {
            val reference = Codec.encode(exact, encoding)
            val decoded = Codec.decode(reference, encoding, size, "test")
            val updates =
                listOf(reference to encoding, Codec.encode(decoded, "float32") to "float32").map {
                    scene = Scene(File(directory, "${it.second}-of-$encoding"))
                    link.blobs[Codec.digestOf(it.first)] = it.first
                    link.checkIns += assignment(weights = blob(it.first, it.second))
                    assertEquals(Happened.TRAINED, session().happened)
                    link.reports.single().second
                }
            assertArrayEquals(updates[0], updates[1])
        }
    }

    @Test
    fun `a phone says what it can decode, and gives its place back for anything else`() {
        link.checkIns += assignment(weights = blob(WEIGHTS, "int4"))
        assertEquals(ErrorCode.BAD_ENCODING, fails().code)
        assertEquals(
            Codec.ENCODINGS,
            link.checkedIn
                .single()
                .capabilities.encodingsList,
        )
        assertEquals(
            0,
            link.reports
                .single()
                .first.statistics.steps,
        )
    }

    @Test
    fun `a phone whose line is too slow is told so, and tries again when it is`() {
        val retry =
            RetryWindow
                .newBuilder()
                .setMinSecs(3.0)
                .setMaxSecs(3.0)
                .setReason(Reason.REASON_LINE_TOO_SLOW)
                .setDetail("10 MB take 900 s")
        link.checkIns += CheckInReply.newBuilder().setRetry(retry).build()
        val outcome = session()
        assertEquals(Happened.LINE_TOO_SLOW, outcome.happened)
        assertEquals("10 MB take 900 s", outcome.detail)
        assertEquals(3.0, outcome.nextContactSecs)
    }

    @Test
    fun `a phone reports what it measured`() {
        Line(File(directory, "anna/line"), scene.clock).note(Way.DOWN, 1_000_000, 10.0)
        scene.restart()
        session()
        val told = link.checkedIn.single().conditions
        assertEquals(listOf(100_000, 0), told.run { listOf(downBytesPerSec, upBytesPerSec) })
    }

    @Test
    fun `a round of evaluation`() {
        link.checkIns += assignment(Work.WORK_EVALUATE)
        assertEquals(Happened.EVALUATED, session().happened)
        val (header, payload) = link.reports.single()
        assertEquals(listOf(3, 3), header.statistics.run { listOf(utterances, words) })
        assertEquals(0, payload.size)
    }

    @Test
    fun `a cancelled coroutine keeps the checkpoint and the next session goes on`() {
        link.checkIns += assignment()
        var polls = 0
        assertThrows<CancellationException> {
            runBlocking {
                val context = currentCoroutineContext()
                scene.phone.runOnce {
                    if (++polls == 4) context.cancel()
                    false
                }
            }
        }
        val before = scene.engines.single().calls
        assertTrue(before in 1..5)
        scene.restart()
        assertEquals(Happened.TRAINED, session().happened)
        assertEquals(6, scene.engines.sumOf { it.calls })
        assertEquals(1, link.checkedIn.size)
        val interrupted = link.reports.single().second

        scene = Scene(File(directory, "undisturbed"))
        link.checkIns += assignment()
        session()
        assertArrayEquals(link.reports.single().second, interrupted)
    }

    @Test
    fun `a clock that jumps neither ends nor extends a lease while the phone lives`() {
        link.checkIns += assignment(leaseSecs = 50.0)
        val outcome =
            session {
                scene.clock.wall += 86_400
                false
            }
        assertEquals(Happened.TRAINED, outcome.happened)
        link.checkIns += assignment(leaseSecs = 50.0)
        val late =
            session {
                scene.clock.wall -= 86_400
                scene.clock.elapsed += 20
                false
            }
        assertEquals(Happened.LEASE_EXPIRED, late.happened)
        assertEquals(Happened.NO_WORK, session().happened)
    }

    @Test
    fun `over a restart the wall clock counts, never beyond the lease`() {
        val file = AssignmentFile(directory)
        val clock = scene.clock

        fun found() = Leases(file, clock).current()
        Leases(file, clock).take(assignment(leaseSecs = 50.0).assignment)
        clock.pass(20.0)
        val lease = checkNotNull(found())
        clock.elapsed += 29
        assertTrue(!lease.over())
        clock.elapsed += 2
        assertTrue(lease.over())
        clock.wall -= 1e6
        val generous = checkNotNull(found())
        clock.elapsed += 51
        assertTrue(generous.over())
        clock.wall += 2e6
        assertTrue(checkNotNull(found()).over())
    }

    @Test
    fun `attempts that make progress do not count`() {
        link.checkIns += assignment()
        link.fetchCuts += listOf(MANIFEST_BYTES.size) + List(20) { 100 }
        assertEquals(Happened.TRAINED, session().happened)
        assertEquals(20, scene.slept.size)
        assertEquals(
            listOf(0L, 100L, 200L),
            link.fetches
                .drop(1)
                .take(3)
                .map { it.offset },
        )
    }

    @Test
    fun `a phone stops calling after a bounded number of attempts and keeps its work`() {
        link.checkIns += assignment()
        link.verdicts += Verdict.VERDICT_NO_SPACE_VALUE
        assertEquals(Happened.REPORT_KEPT, session().happened)
        link.down = true
        scene.slept.clear()
        assertEquals(ErrorCode.SERVER_UNREACHABLE, fails().code)
        assertEquals(2, scene.slept.size)
        assertTrue(scene.slept[0] in 0.005..0.015 && scene.slept[1] in 0.01..0.03)
        link.down = false
        scene.restart()
        assertEquals(Happened.TRAINED, session().happened)
        assertEquals(1, link.checkedIn.size)
        assertEquals(
            1,
            link.reports
                .map { it.first.reportId }
                .toSet()
                .size,
        )
    }

    @Test
    fun `a verdict of a newer server is dropped`() {
        link.checkIns += assignment()
        link.verdicts += 99
        val outcome = session()
        assertEquals(Happened.REPORT_DROPPED, outcome.happened)
        assertEquals(99, outcome.verdict)
        assertEquals(Happened.NO_WORK, session().happened)
    }

    @Test
    fun `damaged bytes never reach the runtime and the place is given back`() {
        link.checkIns += assignment()
        link.blobs[Codec.digestOf(PROGRAM)] = PROGRAM.copyOf().also { it[7] = 99 }
        assertEquals(ErrorCode.WRONG_DIGEST, fails().code)
        assertEquals(2, link.fetches.count { it.digest == Codec.digestOf(PROGRAM) })
        assertTrue(scene.engines.isEmpty())
        assertEquals(
            0,
            link.reports
                .single()
                .first.statistics.steps,
        )
        assertEquals(Happened.NO_WORK, session().happened)
    }

    @Test
    fun `a program damaged on the phone's own disk is fetched again`() {
        link.checkIns += assignment()
        session()
        val kept = directory.walk().filter { it.name == Codec.digestOf(PROGRAM) }.single()
        kept.writeBytes(ByteArray(PROGRAM.size))
        link.checkIns += assignment()
        scene.restart()
        assertEquals(Happened.TRAINED, session().happened)
        assertEquals(2, link.fetches.count { it.digest == Codec.digestOf(PROGRAM) })
    }

    @Test
    fun `what a failed session cost is known, too`() {
        link.down = true
        val traffic = Traffic()

        assertThrows<FedvoiceException> { runBlocking { scene.phone.runOnce(traffic) } }

        assertEquals(3, traffic.attempts)
        assertTrue(traffic.bytesUp > 0)
    }
}
