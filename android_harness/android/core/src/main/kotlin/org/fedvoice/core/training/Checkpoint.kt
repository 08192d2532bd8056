package org.fedvoice.core.training

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import kotlinx.serialization.SerializationException
import kotlinx.serialization.json.Json
import org.fedvoice.core.model.Codec
import org.fedvoice.core.model.TrainingPlan
import java.io.File
import java.io.IOException
import java.io.RandomAccessFile
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.file.Files
import java.nio.file.StandardCopyOption
import java.security.MessageDigest

/**
 * A digest of everything that decides the course of training, hex.
 *
 * A checkpoint of another key (another plan, other weights, examples added since) is no use.
 *
 * @param sizes (feature frames, tokens) of the examples used, in order
 */
fun checkpointKey(
    plan: TrainingPlan,
    initial: FloatArray,
    sizes: List<Pair<Int, Int>>,
    programDigest: String,
    clientId: String,
    round: Int,
): String {
    val facts = listOf(plan, programDigest, clientId, round, sizes).joinToString("\n")
    val digest = MessageDigest.getInstance("SHA-256")
    digest.update(facts.toByteArray(Charsets.UTF_8))
    forEachBlock(initial) { bytes, count -> digest.update(bytes, 0, count) }
    return Codec.hex(digest.digest())
}

/**
 * Progress of local training on the phone's disk: `kill -9` costs what was done since the last.
 *
 * The file is that of `device_runtime/checkpoint.py`: sha256 of the rest (32 bytes), length of the
 * header (8 bytes little-endian), header (JSON), weights float32 [P], then momentum float32 [P] if
 * the plan has it. It is replaced atomically; one that a power cut left damaged fails its digest
 * and is ignored.
 *
 * @param everySecs write at most this often; 0: after every step
 * @param clock seconds, monotonic
 */
class Checkpoint(
    val file: File,
    private val everySecs: Double = 1.0,
    private val clock: () -> Double = { System.nanoTime() / NANOS },
) {
    private var writtenAt = clock()

    /** Whether it is time to write again. */
    fun due(): Boolean = clock() - writtenAt >= everySecs

    /**
     * Replace the file by [state].
     *
     * @throws IOException also when the disk is full
     */
    fun save(key: String, state: ClientState) {
        val fields =
            Header(
                key,
                state.momentum != null,
                state.steps,
                state.examplesSeen,
                state.lossSum,
                state.trainSecs,
                state.peakMemoryBytes,
            )
        val header = Json.encodeToString(Header.serializer(), fields).toByteArray(Charsets.UTF_8)
        val temporary = File(file.path + ".new")
        RandomAccessFile(temporary, "rw").use { out ->
            val digest = MessageDigest.getInstance("SHA-256")
            out.setLength(0)
            out.write(ByteArray(DIGEST_BYTES))

            fun put(bytes: ByteArray, count: Int) {
                digest.update(bytes, 0, count)
                out.write(bytes, 0, count)
            }
            val length = ByteBuffer.allocate(LENGTH_BYTES).order(ByteOrder.LITTLE_ENDIAN)
            put(length.putLong(header.size.toLong()).array(), LENGTH_BYTES)
            put(header, header.size)
            forEachBlock(state.weights, ::put)
            state.momentum?.let { forEachBlock(it, ::put) }
            out.seek(0)
            out.write(digest.digest())
        }
        Files.move(
            temporary.toPath(),
            file.toPath(),
            StandardCopyOption.ATOMIC_MOVE,
            StandardCopyOption.REPLACE_EXISTING,
        )
        writtenAt = clock()
    }

    /**
     * The saved state, or null if there is none, or it is damaged or of another key.
     *
     * @param size P
     */
    fun load(key: String, size: Int): ClientState? =
        try {
            RandomAccessFile(file, "r").use { if (isWhole(it)) read(it, key, size) else null }
        } catch (_: IOException) {
            null
        } catch (_: SerializationException) {
            null
        }

    /** Remove the file, if there is one. */
    fun delete() {
        file.delete()
    }

    private fun isWhole(input: RandomAccessFile): Boolean {
        val wanted = ByteArray(DIGEST_BYTES)
        input.readFully(wanted)
        val digest = MessageDigest.getInstance("SHA-256")
        val block = ByteArray(BLOCK_BYTES)
        while (true) {
            val count = input.read(block)
            if (count < 0) break
            digest.update(block, 0, count)
        }
        return MessageDigest.isEqual(digest.digest(), wanted)
    }

    private fun read(input: RandomAccessFile, key: String, size: Int): ClientState? {
        input.seek(DIGEST_BYTES.toLong())
        val length = ByteArray(LENGTH_BYTES).also { input.readFully(it) }
        val headerBytes = ByteBuffer.wrap(length).order(ByteOrder.LITTLE_ENDIAN).getLong()
        if (headerBytes !in 0..BLOCK_BYTES) return null
        val text = ByteArray(headerBytes.toInt()).also { input.readFully(it) }
        val header = Json.decodeFromString(Header.serializer(), text.toString(Charsets.UTF_8))
        if (header.key != key) return null
        return ClientState(
            weights = readVector(input, size),
            momentum = if (header.momentum) readVector(input, size) else null,
            steps = header.steps,
            examplesSeen = header.examplesSeen,
            lossSum = header.lossSum,
            trainSecs = header.trainSecs,
            peakMemoryBytes = header.peakMemoryBytes,
        )
    }

    @Serializable
    private class Header(
        val key: String,
        val momentum: Boolean,
        val steps: Int,
        @SerialName("examples_seen") val examplesSeen: Int,
        @SerialName("loss_sum") val lossSum: Double,
        @SerialName("train_secs") val trainSecs: Double,
        @SerialName("peak_memory_bytes") val peakMemoryBytes: Long,
    )
}

private const val NANOS = 1e9
private const val DIGEST_BYTES = 32
private const val LENGTH_BYTES = 8
private const val BLOCK_BYTES = 64 * 1024

/** Give [vector]'s little-endian bytes to [use] block by block: no second vector of that size. */
private fun forEachBlock(vector: FloatArray, use: (ByteArray, Int) -> Unit) {
    val block = ByteBuffer.allocate(BLOCK_BYTES).order(ByteOrder.LITTLE_ENDIAN)
    val floats = block.asFloatBuffer()
    for (start in vector.indices step floats.capacity()) {
        val count = minOf(floats.capacity(), vector.size - start)
        floats.clear()
        floats.put(vector, start, count)
        use(block.array(), count * Float.SIZE_BYTES)
    }
}

private fun readVector(input: RandomAccessFile, size: Int): FloatArray {
    val vector = FloatArray(size)
    val block = ByteBuffer.allocate(BLOCK_BYTES).order(ByteOrder.LITTLE_ENDIAN)
    val floats = block.asFloatBuffer()
    for (start in 0 until size step floats.capacity()) {
        val count = minOf(floats.capacity(), size - start)
        input.readFully(block.array(), 0, count * Float.SIZE_BYTES)
        floats.clear()
        floats.get(vector, start, count)
    }
    return vector
}
