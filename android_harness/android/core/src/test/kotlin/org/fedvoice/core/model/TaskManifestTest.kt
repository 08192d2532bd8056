package org.fedvoice.core.model

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.wire.Plan
import org.junit.jupiter.api.Assertions.assertArrayEquals
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** task.json and plans: what is right is read, what is wrong is named. */
class TaskManifestTest {
    private val good =
        """
        {"format_version": 1, "name": "t", "model_kind": "rnnt",
         "model": {"layers": 2, "bidirectional": true, "dropout": 0.5, "kind": "lstm"},
         "parameters": {"parameters": [{"name": "w", "shape": [2, 3], "offset": 0, "note": "new"}],
                        "total_size": 8},
         "features": {"stack": 2, "mel_bins": 5},
         "buckets": [{"name": "t4", "frames": 4, "labels": 2, "batch": 1},
                     {"name": "t9", "frames": 9, "labels": 3, "batch": 2}],
         "vocabulary": {"kind": "word", "tokens": ["<blank>", "no", "yes"]},
         "plan": {"seed": 18446744073709551615},
         "program_digest": "00", "weights_digest": "11"}
        """.trimIndent()

    private val logMel = "\"stack\": 2, \"mel_bins\": 5"

    private fun parse(text: String) = TaskManifest.parse(text.toByteArray(), "task.json")

    @Test
    fun `a manifest is read, unknown fields of tables included`() {
        val task = parse(good)
        assertEquals(ULong.MAX_VALUE, task.plan.seed)
        assertEquals(
            6,
            task.parameters.parameters
                .single()
                .size,
        )
        assertEquals("t4", task.bucketFor(4, 2)?.name)
        assertEquals("t9", task.bucketFor(4, 3)?.name)
        assertNull(task.bucketFor(10, 1))
        assertEquals(listOf(0, 1, 6), listOf(511, 512, 1400).map(task.features::frames))
        assertEquals(3, task.features.stackedFrames(6))
    }

    @Test
    fun `a frame of a waveform is one sample`() {
        val sizes = "\"stack\": 1, \"mel_bins\": 1, \"fft_size\": 1, \"window_samples\": 1"
        val front = "\"kind\": \"waveform\", \"normalise\": \"utterance\", \"hop_samples\": 1"
        val settings = parse(good.replace(logMel, "$front, $sizes")).features
        assertTrue(settings.isWaveform)
        assertEquals(Normalise.UTTERANCE, settings.normalise)
        assertEquals(listOf(0, 1, 512), listOf(0, 1, 512).map(settings::frames))
        for (wrong in listOf("$front, $logMel", "$logMel, \"normalise\": \"utterance\"")) {
            val error =
                assertThrows(FedvoiceException::class.java) { parse(good.replace(logMel, wrong)) }
            assertEquals(ErrorCode.BAD_PACKAGE, error.code)
            assertTrue("waveform" in error.got) { error.got }
        }
        val unknown = good.replace(logMel, "\"kind\": \"chroma\", $logMel")
        val error = assertThrows(FedvoiceException::class.java) { parse(unknown) }
        assertTrue("chroma" in error.got) { error.got }
    }

    @Test
    fun `what is wrong is named by its field`() {
        val wrong =
            mapOf(
                good.replace("\"batch\": 2", "\"batch\": 0") to "task.json",
                good.replace("\"batch\": 2", "\"batch\": \"two\"") to "buckets.1.batch",
                good.replace("\"labels\": 3, ", "") to "buckets.1.labels",
                good.replace("\"stack\": 2", "\"stack\": 2, \"stacks\": 2") to "features.stacks",
                good.replace("\"seed\": 18", "\"sead\": 18") to "plan.sead",
                good.replace("\"offset\": 0", "\"offset\": 4") to "task.json",
                good.replace("\"name\": \"t\", ", "") to "name",
                good.dropLast(20) to "task.json",
                "[]" to "task.json",
                "" to "task.json",
            )
        for ((text, field) in wrong) {
            val error = assertThrows(FedvoiceException::class.java) { parse(text) }
            assertEquals(ErrorCode.BAD_PACKAGE, error.code)
            assertTrue(field in error.where) { "${error.where} names no $field" }
        }
        val later = good.replace("\"format_version\": 1", "\"format_version\": 2")
        val error = assertThrows(FedvoiceException::class.java) { parse(later) }
        assertEquals("format version 2", error.got)
    }

    @Test
    fun `a plan's unset fields take defaults where zero is not a value`() {
        val plan = TrainingPlan.fromMessage(Plan.newBuilder().setSeed(-1L).build())
        val zeros = TrainingPlan(batchSize = 0, clipNorm = 0.0, seed = ULong.MAX_VALUE)
        assertEquals(zeros, plan)
        for (bad in listOf(
            Plan.newBuilder().setClientRate(-1.0),
            Plan.newBuilder().setClientMomentum(1.0),
            Plan.newBuilder().setFvnStd(Double.NaN),
            Plan.newBuilder().setUpdateEncoding("float8"),
            Plan.newBuilder().setBatchSize(-1),
        )) {
            val error =
                assertThrows(FedvoiceException::class.java) {
                    TrainingPlan.fromMessage(bad.build())
                }
            assertEquals(ErrorCode.BAD_CONFIG, error.code)
        }
    }

    @Test
    fun `words and characters have the tokens of the task`() {
        val words = parse(good).vocabulary
        assertArrayEquals(intArrayOf(2, 1), words.encode("  YES\u00a0no "))
        assertEquals("yes no", words.decode(intArrayOf(2, 0, 1)))
        val marks =
            Vocabulary(TargetKind.CHARACTER, listOf("<blank>", "\u2581", "a", "\uD83D\uDE00"))
        assertArrayEquals(intArrayOf(2, 1, 3), marks.encode("a \uD83D\uDE00"))
        assertEquals("a \uD83D\uDE00", marks.decode(intArrayOf(1, 2, 1, 1, 3)))
        for ((text, code) in mapOf(
            "maybe" to ErrorCode.UNKNOWN_TOKEN,
            " \t" to ErrorCode.EMPTY_TRANSCRIPT,
        )) {
            val error = assertThrows(FedvoiceException::class.java) { words.encode(text) }
            assertEquals(code, error.code)
        }
    }
}
