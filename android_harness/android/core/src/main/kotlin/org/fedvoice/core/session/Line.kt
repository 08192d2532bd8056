package org.fedvoice.core.session

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import java.io.File
import java.io.IOException
import kotlin.math.abs
import kotlin.math.max
import kotlin.math.min

/** Seen from the phone. */
enum class Way { UP, DOWN }

/**
 * What a line carried, in one direction.
 *
 * @property bytesPerSec 0: not known
 * @property measuredSecs Unix time
 */
@Serializable
data class Rate(
    @SerialName("bytes_per_sec") val bytesPerSec: Double = 0.0,
    @SerialName("measured_secs") val measuredSecs: Double = 0.0,
) {
    /** Bytes a second, 1 to 2^32 - 1; 0: not known, or too long ago to say. */
    fun known(now: Double): Long {
        if (!(bytesPerSec > 0) || abs(now - measuredSecs) > KEPT_SECS) return 0
        return min(max(bytesPerSec, 1.0), LARGEST_RATE).toLong()
    }

    /** With one more transfer: as much of it as of all before. */
    fun after(dataBytes: Long, secs: Double, now: Double): Rate {
        if (dataBytes < LEAST_BYTES) return this
        val measured = dataBytes / max(secs, SHORTEST_SECS)
        val before = known(now).takeIf { it > 0 }?.toDouble() ?: measured
        return Rate((before + measured) / 2, now)
    }

    companion object {
        /** A phone that was told that its line is too slow tries it again then. */
        const val KEPT_SECS = 6 * 3600.0

        /** Of less, round trips and buffers make up too much of the time. */
        private const val LEAST_BYTES = 128 * 1024
        private const val LARGEST_RATE = 4_294_967_295.0
        private const val SHORTEST_SECS = 1e-6
    }
}

/**
 * Sizes of the chunks of one upload, by how long the ones before took.
 *
 * @param bytesPerSec of the line so far; 0: not known
 */
class Chunks(bytesPerSec: Long) {
    var size: Int = sizeFor(bytesPerSec.toDouble())
        private set

    private var takenBytes = 0L
    private var takenSecs = 0.0

    /**
     * A chunk of so many bytes was taken after so long.
     *
     * gRPC takes several at once and then none for a while: what counts is what it took in
     * [CHUNK_SECS]. The next chunks are at most twice as large then and at least half as large.
     */
    fun took(dataBytes: Int, secs: Double) {
        takenBytes += dataBytes
        takenSecs += secs
        if (takenSecs < CHUNK_SECS) return
        val fits = sizeFor(takenBytes / takenSecs)
        size = min(max(fits, size / 2), 2 * size).coerceIn(SMALLEST_BYTES, LARGEST_BYTES)
        takenBytes = 0
        takenSecs = 0.0
    }

    companion object {
        const val SMALLEST_BYTES = 16 * 1024

        /** With what is around it still below 1 MB, a server's largest message. */
        const val LARGEST_BYTES = 63 * SMALLEST_BYTES

        /** On a line of which nothing is known. */
        const val FIRST_BYTES = 4 * SMALLEST_BYTES

        /** What a chunk takes. A line that is cut loses half a chunk on average. */
        private const val CHUNK_SECS = 0.25

        /** The size of the chunks for such a line; 0: not known. */
        fun sizeFor(bytesPerSec: Double): Int {
            if (!(bytesPerSec > 0)) return FIRST_BYTES
            val fits = min(bytesPerSec * CHUNK_SECS, LARGEST_BYTES.toDouble()).toInt()
            return max(fits / SMALLEST_BYTES * SMALLEST_BYTES, SMALLEST_BYTES)
        }
    }
}

/**
 * What one phone knows of its line. The counterpart of `device_runtime/line.py`.
 *
 * Rates are of whole transfers, with the pauses between two tries in them. They are kept over
 * sessions in [file] (null: nowhere), smoothed, and forgotten after [Rate.KEPT_SECS].
 */
class Line(private val file: File? = null, private val clock: Clock = SystemClock) {
    @Serializable
    private data class Kept(val up: Rate = Rate(), val down: Rate = Rate())

    private var kept = file?.let(::read) ?: Kept()

    /** 0: not known. */
    fun bytesPerSec(way: Way): Long = rate(way).known(clock.wallSecs())

    /** So many bytes were moved in so many seconds. */
    fun note(way: Way, dataBytes: Long, secs: Double) {
        val before = kept
        val after = rate(way).after(dataBytes, secs, clock.wallSecs())
        kept = if (way == Way.UP) before.copy(up = after) else before.copy(down = after)
        if (kept == before || file == null) return
        try {
            writeAtomically(file, Json.encodeToString(Kept.serializer(), kept).toByteArray())
        } catch (_: IOException) {
            // A full disk is told of by what needs the room.
        }
    }

    private fun rate(way: Way) = if (way == Way.UP) kept.up else kept.down

    private fun read(file: File): Kept =
        try {
            Json.decodeFromString(Kept.serializer(), file.readText())
        } catch (_: IOException) {
            Kept()
        } catch (_: SerializationException) {
            Kept()
        }
}
