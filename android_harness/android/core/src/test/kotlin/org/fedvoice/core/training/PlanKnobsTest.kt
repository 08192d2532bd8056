package org.fedvoice.core.training

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.TrainingPlan
import org.fedvoice.core.random.RandomTable
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir
import java.io.File
import kotlin.math.sqrt

/**
 * Knobs that treat parameters differently, and FedProx: by hand on the tiny recogniser.
 *
 * Its parameters are `weight` (6 floats) and `bias` (3): of P = 9 that train, sqrt(6/9) and
 * sqrt(3/9) are their shares of a norm.
 */
class PlanKnobsTest {
    private val plain = TrainingPlan(clientRate = 0.5, clipNorm = 0.0, batchSize = 1)
    private val initial = FloatArray(12) { 0.1f * (it % 5) - 0.2f }
    private val weight = Part(0, 6)
    private val bias = Part(6, 9)
    private val shares = listOf(weight to sqrt(6.0 / 9), bias to sqrt(3.0 / 9))
    private val everything =
        plain.copy(
            localEpochs = 3,
            batchSize = 2,
            clientMomentum = 0.9,
            clipNorm = 0.5,
            clipPerLayer = true,
            fvnStd = 0.05,
            fvnRelative = true,
            trainable = listOf("bias"),
            proxMu = 0.3,
            maxUpdateNorm = 0.75,
            seed = 11u,
        )

    private fun run(
        plan: TrainingPlan,
        count: Int = 1,
        checkpoint: Checkpoint? = null,
        shouldStop: () -> Boolean = { false },
    ): TrainingResult {
        val engine = TinyEngine()
        val examples = someExamples(count)
        return train(
            engine,
            examples,
            plan,
            initial,
            "phone",
            3,
            checkpoint,
            shouldStop = shouldStop,
        )
    }

    private fun deltaOf(plan: TrainingPlan, count: Int = 1): FloatArray =
        checkNotNull(run(plan, count).delta)

    private fun gradient(at: FloatArray = initial): FloatArray {
        val engine = TinyEngine()
        val bucket = engine.manifest.buckets[0]
        val batch = BatchMaker(engine.manifest).make(listOf(someExamples(1)[0]), bucket, 1f)
        return FloatArray(12).also { engine.step(bucket, at, batch, it) }
    }

    private fun noise(plan: TrainingPlan): FloatArray {
        val offset =
            drawCourse(tinyManifest(), someExamples(1), plan, "phone", 3).noiseOffsets.single()
        return FloatArray(12).also { RandomTable.normals(plan.seed).read(offset, it) }
    }

    @Test
    fun `each parameter is clipped to its share of the norm`() {
        val g = gradient()
        // A bound that one gradient keeps to and the other does not.
        val bound = shares.sumOf { (part, share) -> Flat.norm(g, part) / share } / 2
        val wanted = FloatArray(12)
        val factors = mutableListOf<Double>()
        for ((part, share) in shares) {
            val factor = minOf(1.0, bound * share / Flat.norm(g, part))
            for (i in part.from until part.until) wanted[i] = -0.5f * factor.toFloat() * g[i]
            factors += factor
        }
        assertEquals(1, factors.count { it < 1 })
        val delta = deltaOf(plain.copy(clipNorm = bound, clipPerLayer = true))
        assertArrayEquals(wanted, delta, 1e-6f)
    }

    @Test
    fun `updates clipped per layer stay within the whole bound`() {
        val plan = plain.copy(clientRate = 50.0, maxUpdateNorm = 0.25, clipPerLayer = true)
        val delta = deltaOf(plan, count = 4)
        for ((part, share) in shares) assertEquals(0.25 * share, Flat.norm(delta, part), 1e-5)
        assertTrue(Flat.norm(delta) <= 0.25)
        assertEquals(0.25, Flat.norm(delta), 1e-5)
    }

    @Test
    fun `relative noise has the scale of each parameter's weights`() {
        val plan = plain.copy(fvnStd = 0.3, fvnRelative = true, seed = 7u)
        val normals = noise(plan)
        val noisy = initial.copyOf()
        for (part in listOf(weight, bias)) {
            val std = 0.3 * Flat.norm(initial, part) / sqrt(part.size.toDouble())
            for (i in part.from until part.until) noisy[i] += std.toFloat() * normals[i]
        }
        val wanted = gradient(noisy).map { -0.5f * it }.toFloatArray()
        assertArrayEquals(wanted, deltaOf(plan), 1e-6f)
    }

    @Test
    fun `frozen parameters do not move at all and get no noise`() {
        val delta = deltaOf(everything, count = 5)
        assertTrue((0 until 6).all { delta[it] == 0f })
        assertTrue((6 until 9).all { delta[it] != 0f })

        val plan = plain.copy(trainable = listOf("bia"), fvnStd = 0.3, seed = 7u)
        val normals = noise(plan)
        val noisy = initial.copyOf()
        for (i in 6 until 9) noisy[i] += 0.3f * normals[i]
        val wanted = gradient(noisy).map { -0.5f * it }.toFloatArray().also { it.fill(0f, 0, 6) }
        assertArrayEquals(wanted, deltaOf(plan), 1e-6f)
    }

    @Test
    fun `a prefix of no parameter is refused by name`() {
        val plan = plain.copy(trainable = listOf("bias", "encoder."))
        val error = assertThrows(FedvoiceException::class.java) { run(plan) }
        assertEquals(ErrorCode.BAD_CONFIG, error.code)
        assertTrue("'encoder.'" in error.message.orEmpty())
    }

    @Test
    fun `FedProx pulls back to the round's start`() {
        // Two steps on one example: the second has mu (w - w_initial) = -mu rate g_1 on top.
        val first = gradient()
        val second = gradient(FloatArray(12) { initial[it] - 0.5f * first[it] })
        val delta = deltaOf(plain.copy(proxMu = 0.4, localEpochs = 2))
        val wanted = FloatArray(12) { -0.5f * (first[it] + second[it] - 0.2f * first[it]) }
        assertArrayEquals(wanted, delta, 1e-6f)
    }

    @Test
    fun `FedProx keeps one vector more and frozen parameters save none`() {
        fun planned(plan: TrainingPlan) = run(plan).statistics.plannedMemoryBytes
        assertEquals(planned(plain) + 4 * 12, planned(plain.copy(proxMu = 0.1)))
        val partly = plain.copy(trainable = listOf("bias"), clipPerLayer = true)
        assertEquals(planned(plain), planned(partly))
    }

    @Test
    fun `training with every knob resumes to the same bits, and not with another`(
        @TempDir folder: File,
    ) {
        val whole = run(everything, count = 10)
        val checkpoint = Checkpoint(File(folder, "checkpoint"), everySecs = 0.0)
        val changed =
            listOf(
                everything.copy(clipPerLayer = false),
                everything.copy(fvnRelative = false),
                everything.copy(trainable = emptyList()),
                everything.copy(proxMu = 0.2),
            )
        for (plan in changed + everything) {
            var polls = 0
            run(plan, count = 10, checkpoint = checkpoint) { polls++ == 5 }
            val resumed = run(everything, count = 10, checkpoint = checkpoint)
            assertArrayEquals(whole.delta, resumed.delta)
        }
    }
}
