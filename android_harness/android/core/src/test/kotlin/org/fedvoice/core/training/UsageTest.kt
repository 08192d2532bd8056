package org.fedvoice.core.training

import kotlinx.serialization.json.Json
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Test

/** Nothing is left out in silence: the counts, and the words of `protocol/usage.py`. */
class UsageTest {
    private class Spoken(
        override val id: Long,
        override val transcript: String,
        override val sampleRate: Int = 16000,
        override val testing: Boolean = false,
    ) : Recording {
        override val samples = 700
        override val where = "stored example $id"
    }

    private val usage =
        usageOf(
            listOf(
                Spoken(1, "yes", sampleRate = 4000),
                Spoken(2, "perhaps"),
                Spoken(3, "no"),
                Spoken(4, "no", sampleRate = 4000),
                Spoken(5, "perhaps", testing = true),
            ),
            tinyManifest(),
        )

    @Test
    fun `every example is used or has its reason, with the first one's name`() {
        val leftOut =
            mapOf(
                "wrong-sample-rate" to LeftOut(2, "stored example 1"),
                "unknown-token" to LeftOut(1, "stored example 2"),
            )
        assertEquals(Usage(2, leftOut), usage)
        assertEquals(3, usage.skipped)
        assertEquals("wrong-sample-rate", reasonAgainst(Spoken(1, "yes", 4000), tinyManifest()))
        assertNull(reasonAgainst(Spoken(3, "no"), tinyManifest()))
    }

    @Test
    fun `a usual rate is no reason, and lengths are compared at the task's rate`() {
        class Recorded(override val sampleRate: Int, override val samples: Int) : Recording {
            override val id = 1L
            override val transcript = "yes"
            override val where = "here"
        }
        for (rate in listOf(8000, 11025, 44100, 48000, 192000)) {
            val enough = 700 * rate / 16000
            assertNull(reasonAgainst(Recorded(rate, enough), tinyManifest()), "$rate Hz")
            val short = reasonAgainst(Recorded(rate, enough / 2), tinyManifest())
            assertEquals("too-short", short, "$rate Hz")
        }
        for (rate in listOf(7999, 192001)) {
            val reason = reasonAgainst(Recorded(rate, 700 * rate / 16000), tinyManifest())
            assertEquals("wrong-sample-rate", reason, "$rate Hz")
        }
    }

    @Test
    fun `it is said as Python says it, and in short`() {
        assertEquals(
            "2 utterances used; left out: 2 wrong-sample-rate (first: stored example 1), " +
                "1 unknown-token (first: stored example 2)",
            usage.describe(),
        )
        assertEquals("1 utterance used, none left out", Usage(1).describe())
        assertEquals("1,200 utterances used, none left out", Usage(1200).describe())
        assertEquals(
            "2 used, 3 left out: 2 wrong-sample-rate, 1 unknown-token",
            usage.counts.describe(),
        )
        assertEquals("1200 used", UsageCounts(1200).describe())
    }

    @Test
    fun `it comes back from JSON as it was`() {
        val text = Json.encodeToString(Usage.serializer(), usage)
        assertEquals(usage, Json.decodeFromString(Usage.serializer(), text))
    }
}
