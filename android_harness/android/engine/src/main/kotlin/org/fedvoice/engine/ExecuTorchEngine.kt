package org.fedvoice.engine

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Bucket
import org.fedvoice.core.model.FeatureSettings
import org.fedvoice.core.model.Streaming
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.recognition.Carried
import org.fedvoice.core.recognition.StreamingEngine
import org.fedvoice.core.recognition.demandStreaming
import org.fedvoice.core.training.Batch
import org.fedvoice.core.training.checkLogMel
import org.pytorch.executorch.EValue
import org.pytorch.executorch.Tensor
import java.io.File
import java.nio.FloatBuffer
import java.nio.LongBuffer

/**
 * Runs a task package on Android's ExecuTorch binary; methods are loaded at their first use.
 *
 * One engine belongs to one thread at a time. The weights lie once in native memory; every
 * parameter that the program takes is a view of that buffer.
 *
 * @param program program.pte; its bytes are checked against the manifest before they are loaded
 * @param threads of the runtime's pool, one pool a process
 * @throws FedvoiceException `wrong-digest`, `not-found`; `bad-package` for a program that cannot be
 *   loaded; `missing-operator` for methods, operators or delegates that are not there
 */
class ExecuTorchEngine(override val manifest: TaskManifest, program: File, threads: Int = 1) :
    StreamingEngine {
    private val program = Program(program, manifest, threads)
    private val weights = floats(manifest.parameters.totalSize)
    private val parameters =
        manifest.parameters.parameters.map { spec ->
            val view =
                weights.duplicate().apply {
                    position(spec.offset)
                    limit(spec.offset + spec.size)
                }
            EValue.from(Tensor.fromBlob(view.slice(), spec.shape.toShape()))
        }
    private val inputs = mutableMapOf<Bucket, BucketInputs>()
    private var waveforms: FloatBuffer? = null
    private val streaming by lazy {
        StreamingInputs(manifest.demandStreaming(), manifest.features, parameters)
    }

    override fun features(waveform: FloatArray): FloatArray {
        checkLogMel(manifest)
        val settings = manifest.features
        val frames = settings.frames(waveform.size)
        if (frames < 1 || waveform.size > settings.maxSamples) {
            throw FedvoiceException(
                ErrorCode.WRONG_SHAPE,
                where = FEATURES_METHOD,
                got = "a waveform of shape (${waveform.size},)",
                wanted = "[samples], from ${settings.fftSize} to ${settings.maxSamples} of them",
                nextStep = "Leave the utterance out, or cut it.",
            )
        }
        // The program takes whole hops; what is cut off makes no frame.
        val used = (frames - 1) * settings.hopSamples + settings.fftSize
        val buffer = waveforms ?: floats(settings.maxSamples).also { waveforms = it }
        buffer.clear()
        buffer.put(waveform, 0, used)
        buffer.flip()
        val samples = Tensor.fromBlob(buffer.slice(), longArrayOf(1, used.toLong()))
        val (mel) = program.run(FEATURES_METHOD, arrayOf(EValue.from(samples)))
        return mel.toTensor().dataAsFloatArray
    }

    override fun step(
        bucket: Bucket,
        weights: FloatArray,
        batch: Batch,
        gradient: FloatArray,
    ): Float {
        val method = bucket.stepMethod
        manifest.parameters.check(gradient, "$method, gradient")
        install(weights, method)
        val inputs = inputsOf(bucket)
        inputs.putFeatures(method, batch.features, batch.frameCounts)
        inputs.putTargets(method, batch)
        val (loss, flat) = program.run(method, inputs.step)
        val result = flat.toTensor()
        checkSize("$method, gradient", result.numel().toInt(), gradient.size)
        result.copyDataInto(FloatBuffer.wrap(gradient))
        return loss.toTensor().dataAsFloatArray[0]
    }

    override fun decode(
        bucket: Bucket,
        weights: FloatArray,
        features: FloatArray,
        frameCounts: LongArray,
    ): List<IntArray> {
        val method = bucket.decodeMethod
        install(weights, method)
        val inputs = inputsOf(bucket)
        inputs.putFeatures(method, features, frameCounts)
        // [T * S, B]: a place holds 0 where nothing was said.
        val tokens = program.run(method, inputs.decode)[0].toTensor().dataAsLongArray
        return List(bucket.batch) { row ->
            (row until tokens.size step bucket.batch)
                .map { tokens[it].toInt() }
                .filter { it != 0 }
                .toIntArray()
        }
    }

    override fun stream(weights: FloatArray, features: FloatArray, state: FloatArray): Carried {
        val method = manifest.demandStreaming().streamMethod
        install(weights, method)
        streaming.chunk.fill(features, "$method, features")
        streaming.state.fill(state, "$method, state")
        return carried(program.run(method, streaming.streamed))
    }

    override fun predict(weights: FloatArray, tokens: LongArray, states: FloatArray): Carried {
        install(weights, PREDICT)
        streaming.tokens.fill(tokens, "$PREDICT, tokens")
        streaming.states.fill(states, "$PREDICT, states")
        return carried(program.run(PREDICT, streaming.predicted))
    }

    override fun join(
        weights: FloatArray,
        outputs: FloatArray,
        predictions: FloatArray,
    ): FloatArray {
        install(weights, JOIN)
        streaming.outputs.fill(outputs, "$JOIN, outputs")
        streaming.predictions.fill(predictions, "$JOIN, predictions")
        return program.run(JOIN, streaming.joined)[0].toTensor().dataAsFloatArray
    }

    override fun close() = program.close()

    private fun carried(found: Array<EValue>) =
        Carried(found[0].toTensor().dataAsFloatArray, found[1].toTensor().dataAsFloatArray)

    private fun install(values: FloatArray, method: String) {
        manifest.parameters.check(values, "$method, weights")
        weights.clear()
        weights.put(values)
    }

    private fun inputsOf(bucket: Bucket): BucketInputs =
        inputs.getOrPut(bucket) {
            if (bucket !in manifest.buckets) {
                throw wrongShape(
                    bucket.stepMethod,
                    "a bucket of another task",
                    "one of this task's",
                )
            }
            BucketInputs(bucket, manifest.features.stack, manifest.features.melBins, parameters)
        }
}

/** Tensors of one bucket's shapes in native memory, made once and filled for every call. */
private class BucketInputs(bucket: Bucket, stack: Int, melBins: Int, parameters: List<EValue>) {
    private val features = floats(bucket.batch * bucket.frames * stack * melBins)
    private val targets = longs(bucket.batch * bucket.labels)
    private val frameCounts = longs(bucket.batch)
    private val targetCounts = longs(bucket.batch)
    private val exampleWeights = floats(bucket.batch)
    private val draws = floats(bucket.draws)

    /** What `step_<name>` takes. */
    val step: Array<EValue>

    /** What `decode_<name>` takes. */
    val decode: Array<EValue>

    init {
        val rows = listOf(bucket.batch)
        val x = features.value(listOf(bucket.batch, bucket.frames * stack, melBins))
        val y = targets.value(listOf(bucket.batch, bucket.labels))
        val counts = frameCounts.value(rows)
        val losses = listOf(y, counts, targetCounts.value(rows), exampleWeights.value(rows))
        val drawn = if (bucket.draws > 0) listOf(draws.value(listOf(bucket.draws))) else emptyList()
        step = (parameters + x + losses + drawn).toTypedArray()
        decode = (parameters + x + counts).toTypedArray()
    }

    fun putFeatures(method: String, values: FloatArray, counts: LongArray) {
        features.fill(values, "$method, features")
        frameCounts.fill(counts, "$method, frame counts")
    }

    fun putTargets(method: String, batch: Batch) {
        targets.fill(batch.targets, "$method, targets")
        targetCounts.fill(batch.targetCounts, "$method, target counts")
        exampleWeights.fill(batch.exampleWeights, "$method, example weights")
        draws.fill(batch.draws, "$method, draws")
    }
}

/** Tensors of the streaming methods in native memory. */
private class StreamingInputs(
    sizes: Streaming,
    settings: FeatureSettings,
    parameters: List<EValue>,
) {
    val chunk = floats(sizes.frames * settings.stack * settings.melBins)
    val state = floats(sizes.encoderState)
    val tokens = longs(sizes.rows)
    val states = floats(sizes.rows * sizes.predictorState)
    val outputs = floats(sizes.rows * sizes.outputs)
    val predictions = floats(sizes.rows * sizes.outputs)

    /** What `stream_<C>` takes. */
    val streamed: Array<EValue>

    /** What `predict` takes. */
    val predicted: Array<EValue>

    /** What `join` takes. */
    val joined: Array<EValue>

    init {
        val x = chunk.value(listOf(1, sizes.frames * settings.stack, settings.melBins))
        streamed = (parameters + x + state.value(listOf(sizes.encoderState))).toTypedArray()
        val before = states.value(listOf(sizes.rows, sizes.predictorState))
        predicted = (parameters + tokens.value(listOf(sizes.rows)) + before).toTypedArray()
        val both = listOf(outputs, predictions).map { it.value(listOf(sizes.rows, sizes.outputs)) }
        joined = (parameters + both).toTypedArray()
    }
}

private const val PREDICT = "predict"
private const val JOIN = "join"

private fun floats(count: Int): FloatBuffer = Tensor.allocateFloatBuffer(count)

private fun longs(count: Int): LongBuffer = Tensor.allocateLongBuffer(count)

private fun List<Int>.toShape() = LongArray(size) { this[it].toLong() }

private fun FloatBuffer.value(shape: List<Int>) =
    EValue.from(Tensor.fromBlob(this, shape.toShape()))

private fun LongBuffer.value(shape: List<Int>) = EValue.from(Tensor.fromBlob(this, shape.toShape()))

private fun FloatBuffer.fill(values: FloatArray, where: String) {
    checkSize(where, values.size, capacity())
    clear()
    put(values)
    clear()
}

private fun LongBuffer.fill(values: LongArray, where: String) {
    checkSize(where, values.size, capacity())
    clear()
    put(values)
    clear()
}

/** The runtime may crash on what it does not expect, so nothing reaches it unchecked. */
private fun checkSize(where: String, got: Int, wanted: Int) {
    if (got != wanted) throw wrongShape(where, "$got values", "$wanted values")
}

private fun wrongShape(where: String, got: String, wanted: String) =
    FedvoiceException(
        ErrorCode.WRONG_SHAPE,
        where = where,
        got = got,
        wanted = wanted,
        nextStep = "Use batches of this bucket and weights of this task package.",
    )
