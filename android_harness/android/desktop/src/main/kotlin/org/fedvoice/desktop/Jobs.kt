package org.fedvoice.desktop

import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.model.TrainingPlan
import org.fedvoice.core.training.Engine
import org.fedvoice.core.training.Example
import org.fedvoice.core.training.Examples
import org.fedvoice.core.training.FeatureCache
import org.fedvoice.core.training.LocalExamples
import org.fedvoice.core.training.Recording
import org.fedvoice.engine.ExecuTorchEngine
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** The manifest of the task package in folder [task]. */
internal fun manifestOf(task: String): TaskManifest {
    val file = File(task, "task.json")
    return TaskManifest.parse(file.readBytes(), file.path)
}

/** An engine of one thread for the task package in folder [task]. */
internal fun engineOf(task: String): ExecuTorchEngine =
    ExecuTorchEngine(manifestOf(task), File(task, "program.pte"))

/** The plan in a file that holds a serialised message. */
internal fun planOf(file: String): TrainingPlan =
    TrainingPlan.fromMessage(
        org.fedvoice.wire.Plan
            .parseFrom(File(file).readBytes()),
    )

internal fun readFloats(file: String): FloatArray {
    val bytes = ByteBuffer.wrap(File(file).readBytes()).order(ByteOrder.LITTLE_ENDIAN)
    return FloatArray(bytes.remaining() / Float.SIZE_BYTES).also { bytes.asFloatBuffer().get(it) }
}

internal fun writeFloats(file: File, values: FloatArray) {
    val bytes = ByteBuffer.allocate(values.size * Float.SIZE_BYTES).order(ByteOrder.LITTLE_ENDIAN)
    bytes.asFloatBuffer().put(values)
    file.writeBytes(bytes.array())
}

internal fun writeInts(file: File, values: IntArray) {
    val bytes = ByteBuffer.allocate(values.size * Int.SIZE_BYTES).order(ByteOrder.LITTLE_ENDIAN)
    bytes.asIntBuffer().put(values)
    file.writeBytes(bytes.array())
}

/** A job's examples: all of them with features, or all of them with waveforms. */
internal fun examplesOf(job: TrainingJob, engine: Engine): Examples {
    val (sounds, ready) = job.examples.partition { it.waveform.isNotEmpty() }
    require(sounds.isEmpty() || ready.isEmpty()) { "a job has either features or waveforms" }
    if (sounds.isEmpty()) return ReadyExamples(ready, engine.manifest.features.melBins)
    val recordings = sounds.withIndex().map { (id, files) -> FileRecording(id.toLong(), files) }
    return LocalExamples(engine, recordings, FeatureCache()) { readFloats(it.file) }
}

private class ReadyExamples(private val files: List<ExampleFiles>, private val bins: Int) :
    Examples {
    private val examples =
        files.map {
            val features = readFloats(it.features)
            Example(features, features.size / bins, it.targets.toIntArray())
        }
    override val size: Int get() = files.size

    override fun get(index: Int): Example = examples[index]
}

private class FileRecording(override val id: Long, files: ExampleFiles) : Recording {
    val file = files.waveform
    override val transcript = files.transcript
    override val sampleRate = files.sampleRate
    override val samples = (File(file).length() / Float.SIZE_BYTES).toInt()
    override val where = "recording $id"
}
