package org.fedvoice.core.store

import org.fedvoice.core.training.Recording
import java.io.File

/** Where a transcript comes from; the ids are those of `device_runtime/store.py`. */
enum class Source(val id: String) {
    /** The person corrected what was recognised. */
    CORRECTION("correction"),

    /** The person read a given text. */
    PROMPT("prompt"),

    /** Brought along: a corpus, a manifest, a confident transcript of the host app. */
    OWN("own"),
}

/** What an example is for. */
enum class Split(val id: String) {
    TRAIN("train"),
    TEST("test"),
}

/** What adding to a full store does. */
enum class WhenFull { EVICT_OLDEST, REFUSE }

/**
 * Caps of a store; null: none.
 *
 * @property maxBytes counts audio held in the store; files that are only referred to cost nothing
 */
data class StoreLimits(
    val maxExamples: Int? = null,
    val maxBytes: Long? = null,
    val timeToLiveSecs: Double? = null,
    val whenFull: WhenFull = WhenFull.EVICT_OLDEST,
)

/** A recording: a sound file that is referred to, or a wav file's bytes, which the store holds. */
sealed interface Audio {
    data class InFile(val file: File) : Audio

    class Held(val wav: ByteArray) : Audio
}

/** What a sound file's header says. @property samples per channel */
data class AudioFacts(val sampleRate: Int, val samples: Int)

/** What is added. */
class NewExample(
    val audio: Audio,
    val transcript: String,
    val source: Source = Source.OWN,
    val split: Split = Split.TRAIN,
)

/**
 * One row, without its audio.
 *
 * @property audioFile null: the store holds the bytes
 * @property samples per channel
 * @property addedSecs Unix time
 */
data class StoredExample(
    override val id: Long,
    val audioFile: File?,
    override val sampleRate: Int,
    override val samples: Int,
    override val transcript: String,
    val source: Source,
    val split: Split,
    val addedSecs: Double,
) : Recording {
    /** How errors name it. */
    override val where: String get() = audioFile?.path ?: "stored example $id"
    override val testing: Boolean get() = split == Split.TEST
}

/** The examples of one phone: what was said and how it is written, on the phone's own disk. */
interface ExampleStore {
    /** Stores one example and returns its id; see [addAll]. */
    fun add(example: NewExample): Long = addAll(listOf(example)).single()

    /**
     * Stores examples in one transaction: all or, on an error, none.
     *
     * @throws org.fedvoice.core.FedvoiceException `empty-transcript`; `missing-audio`,
     *   `unreadable-audio`; `store-full` if an example is larger than the store, or if the limits
     *   say to refuse; `no-space`
     */
    fun addAll(examples: List<NewExample>): List<Long>

    /** The unexpired examples of a split, oldest first. */
    fun examples(split: Split): List<StoredExample>

    /** How many unexpired examples a split has. */
    fun count(split: Split): Int

    /** Bytes of audio that the store itself holds. */
    fun heldBytes(): Long

    /**
     * The sound of an example.
     *
     * @throws org.fedvoice.core.FedvoiceException `missing-audio` if it was deleted meanwhile
     */
    fun audio(example: StoredExample): Audio

    /** Notes that examples were trained on in a round; those deleted meanwhile are ignored. */
    fun markUsed(ids: List<Long>, round: Int)

    /** Rounds in which examples were trained on, by the example's id; those never used lack. */
    fun roundsUsed(): Map<Long, List<Int>>

    /** Forgets one example. */
    fun delete(id: Long)

    /** Forgets everything; the audio's bytes are overwritten, not just unlinked. */
    fun deleteAll()
}
