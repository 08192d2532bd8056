package org.fedvoice.core.training

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.SpecAugment
import org.fedvoice.core.model.TrainingPlan
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNotEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File

/** Local training: the laws, with a model small enough for paper. */
class TrainerTest {
    private val everything =
        TrainingPlan(
            localEpochs = 3,
            batchSize = 3,
            dataLimit = 7,
            clientRate = 0.5,
            clientMomentum = 0.5,
            clipNorm = 0.2,
            fvnStd = 0.05,
            specAugment = SpecAugment(1, 2, 1, 1),
            seed = 5u,
        )
    private val initial = FloatArray(12) { 0.1f * (it % 5) - 0.2f }

    private fun run(
        plan: TrainingPlan,
        examples: Examples = someExamples(12),
        checkpoint: Checkpoint? = null,
        engine: TinyEngine = TinyEngine(tinyManifest(2 to 2, 4 to 2)),
        shouldStop: () -> Boolean = { false },
    ): TrainingResult =
        train(engine, examples, plan, initial, "phone", 3, checkpoint, shouldStop = shouldStop)

    @Test
    fun `one step is the gradient times the rate`() {
        val engine = TinyEngine()
        val examples = someExamples(1)
        val plan = TrainingPlan(clientRate = 0.5, clipNorm = 0.0, batchSize = 1)
        val result = run(plan, examples, engine = engine)
        val batch =
            BatchMaker(engine.manifest)
                .make(listOf(examples[0]), engine.manifest.buckets[0], 1f)
        val gradient = FloatArray(12)
        val loss = engine.step(engine.manifest.buckets[0], initial, batch, gradient)
        val expected = FloatArray(12) { -0.5f * gradient[it] }
        assertArrayEquals(expected, result.delta, 1e-6f)
        assertEquals(loss.toDouble(), result.statistics.loss, 1e-6)
    }

    @Test
    fun `training is resumed with the same bits wherever it is stopped`(
        @TempDir folder: File,
    ) {
        val whole = run(everything)
        assertEquals(TrainingStatus.COMPLETED, whole.status)
        for (stopAt in 1 until whole.statistics.steps) {
            val checkpoint = Checkpoint(File(folder, "checkpoint"), everySecs = 0.0)
            var polls = 0
            val stopped = run(everything, checkpoint = checkpoint) { polls++ == stopAt }
            assertEquals(TrainingStatus.STOPPED, stopped.status)
            assertEquals("after $stopAt steps", stopped.detail)
            assertNull(stopped.delta)
            val resumed = run(everything, checkpoint = checkpoint)
            assertArrayEquals(whole.delta, resumed.delta)
            assertEquals(whole.statistics.loss, resumed.statistics.loss)
            checkpoint.delete()
        }
    }

    @Test
    fun `a damaged checkpoint or that of another plan is ignored`(
        @TempDir folder: File,
    ) {
        val whole = run(everything)
        val file = File(folder, "checkpoint")

        fun stopped(plan: TrainingPlan) {
            var polls = 0
            run(plan, checkpoint = Checkpoint(file)) { polls++ == 2 }
        }
        stopped(everything)
        val bytes = file.readBytes()
        for (damaged in listOf(
            bytes.copyOf(bytes.size - 1),
            bytes.clone().also { it[bytes.size - 3]++ },
            bytes.copyOf(20),
            ByteArray(0),
        )) {
            file.writeBytes(damaged)
            assertArrayEquals(whole.delta, run(everything, checkpoint = Checkpoint(file)).delta)
        }
        stopped(everything.copy(seed = 6u))
        assertArrayEquals(whole.delta, run(everything, checkpoint = Checkpoint(file)).delta)
    }

    @Test
    fun `every example comes once an epoch, and the round's draw is its own`() {
        val manifest = tinyManifest(2 to 2, 4 to 2)
        val examples = someExamples(12)
        val course = drawCourse(manifest, examples, everything, "phone", 3)
        assertEquals(7, course.used.size)
        for (epoch in 0 until 3) {
            val seen = course.steps.filter { it.epoch == epoch }.flatMap { it.batch.toList() }
            assertEquals((0 until 7).toList(), seen.sorted())
        }
        val other = drawCourse(manifest, examples, everything, "phone", 4)
        assertNotEquals(course.used.toList(), other.used.toList())
    }

    @Test
    fun `unusable examples are skipped and counted, other failures are not hidden`() {
        fun failing(code: ErrorCode) =
            object : Examples {
                private val good = someExamples(5)
                override val size = 5

                override fun get(index: Int): Example {
                    if (index == 2) throw FedvoiceException(code, "a", "b", "c", "d")
                    return good[index]
                }
            }
        val plan = TrainingPlan()
        val result = run(plan, failing(ErrorCode.UNREADABLE_AUDIO))
        assertEquals(1, result.statistics.skippedExamples)
        assertEquals(listOf(0, 1, 3, 4), result.used.toList())
        assertThrows(FedvoiceException::class.java) { run(plan, failing(ErrorCode.NO_SPACE)) }
        val none = run(plan, someExamples(0))
        assertEquals(TrainingStatus.NO_EXAMPLES, none.status)
    }

    @Test
    fun `weights that run away are reported, not sent`() {
        val endless =
            ExampleList(
                listOf(Example(floatArrayOf(Float.POSITIVE_INFINITY, 1f), 1, intArrayOf(1))),
            )
        val result = run(TrainingPlan(), endless)
        assertEquals(TrainingStatus.DIVERGED, result.status)
        assertNull(result.delta)
        assertTrue("at step 0" in result.detail)
    }

    @Test
    fun `a larger update is scaled down to its bound`() {
        val free = run(everything)
        val bound = Flat.norm(checkNotNull(free.delta)) / 3
        val bounded = checkNotNull(run(everything.copy(maxUpdateNorm = bound)).delta)
        assertTrue(Flat.norm(bounded) <= bound)
        assertEquals(bound, Flat.norm(bounded), 1e-5 * bound)
    }

    @Test
    fun `mu counts what the Python phone counts`() {
        val weightsBytes = 4L * 12
        val result = run(everything)
        assertEquals(4000 + 4 * weightsBytes, result.statistics.plannedMemoryBytes)
        val plain = run(TrainingPlan(batchSize = 1))
        assertEquals(4000 + weightsBytes, plain.statistics.plannedMemoryBytes)
    }

    @Test
    fun `word errors are the fewest edits`() {
        val errors = WordErrors()
        errors.add("turn the light on", "turn light on now")
        errors.add("yes", "")
        errors.add("no", "no")
        assertEquals(listOf(3, 6, 3), listOf(errors.errors, errors.words, errors.utterances))
    }

    @Test
    fun `evaluation counts usable utterances and stops when told`() {
        val engine = TinyEngine(tinyManifest(2 to 2, 4 to 2))
        val examples = someExamples(9, frames = 5)
        val counts = checkNotNull(evaluate(engine, examples, initial))
        assertEquals(9, counts.utterances + counts.skippedExamples)
        assertEquals(counts.utterances, counts.words)
        assertTrue(counts.skippedExamples > 0)
        assertNull(evaluate(engine, examples, initial, shouldStop = { true }))
    }
}
