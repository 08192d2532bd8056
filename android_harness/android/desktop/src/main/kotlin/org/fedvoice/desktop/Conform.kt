package org.fedvoice.desktop

import kotlinx.serialization.json.Json
import kotlinx.serialization.json.JsonObject
import kotlinx.serialization.json.JsonObjectBuilder
import kotlinx.serialization.json.add
import kotlinx.serialization.json.addJsonArray
import kotlinx.serialization.json.addJsonObject
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import kotlinx.serialization.json.putJsonArray
import kotlinx.serialization.json.putJsonObject
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.Codec
import org.fedvoice.core.model.FeatureSettings
import org.fedvoice.core.random.Purpose
import org.fedvoice.core.random.Stream
import org.fedvoice.core.recognition.SearchSettings
import org.fedvoice.core.recognition.StreamingEngine
import org.fedvoice.core.recognition.StreamingRecogniser
import org.fedvoice.core.recognition.readLanguageModel
import org.fedvoice.core.store.Audio
import org.fedvoice.core.store.NewExample
import org.fedvoice.core.store.Source
import org.fedvoice.core.store.Split
import org.fedvoice.core.store.SqlExampleStore
import org.fedvoice.core.store.readFacts
import org.fedvoice.core.store.readWaveform
import org.fedvoice.core.training.BatchMaker
import org.fedvoice.core.training.Checkpoint
import org.fedvoice.core.training.Engine
import org.fedvoice.core.training.TrainingStatus
import org.fedvoice.core.training.drawCourse
import org.fedvoice.core.training.evaluate
import org.fedvoice.core.training.normaliseFeatures
import org.fedvoice.core.training.train
import java.io.File

/**
 * `conform JOB.json`: answer questions about what the Kotlin phone computes, for law 9's suite.
 *
 * Writes `answers.json`, {id: facts}, and `<id>.<what>.bin` into the job's folder. A question that
 * ends in a [FedvoiceException] is answered with its parts.
 */
fun conform(arguments: List<String>) {
    val job = jobs.decodeFromString(ConformJob.serializer(), File(arguments.single()).readText())
    val answers =
        buildJsonObject {
            for (question in job.questions) {
                put(question.id, answered(question, File(job.out)))
            }
        }
    File(job.out, "answers.json").writeText(answers.toString())
}

private val jobs = Json { classDiscriminator = "kind" }

private fun answered(question: Question, out: File): JsonObject =
    try {
        buildJsonObject { answer(question) { what -> File(out, "${question.id}.$what.bin") } }
    } catch (error: FedvoiceException) {
        buildJsonObject {
            putJsonObject("error") {
                put("code", error.code.id)
                put("where", error.where)
                put("got", error.got)
                put("wanted", error.wanted)
            }
        }
    }

private fun JsonObjectBuilder.answer(question: Question, file: (String) -> File) {
    when (question) {
        is Draws -> {
            draw(question, file)
        }
        is Table -> {
            val values = FloatArray(question.count)
            question.read(values)
            writeFloats(file("numbers"), values)
        }
        is Encoding -> {
            val bytes = Codec.encode(readFloats(question.vector), question.encoding)
            file("encoded").writeBytes(bytes)
            put("digest", Codec.digestOf(bytes))
            val size = readFloats(question.vector).size
            val data = File(question.data).readBytes()
            val decoded = Codec.decode(data, question.encoding, size, question.data)
            writeFloats(file("decoded"), decoded)
        }
        is Texts -> {
            answerTexts(question)
        }
        is Sound -> {
            engineOf(question.task).use { engine ->
                val mel = engine.features(readFloats(question.waveform))
                writeFloats(file("mel"), mel)
                val bins = engine.manifest.features.melBins
                writeFloats(file("normalised"), normaliseFeatures(mel, bins))
            }
        }
        is Plan -> {
            engineOf(question.job.task).use { answerCourse(question.job, it) }
        }
        is Training -> {
            answerTraining(question, file)
        }
        is Recognition -> {
            engineOf(question.job.task).use { recognise(question.job, it) }
        }
        is Streamed -> {
            engineOf(question.task).use { answerStreamed(question, it) }
        }
        is WireMessage -> {
            file("message").writeBytes(wireBytes(question))
        }
        is WavFile -> {
            val audio = Audio.InFile(File(question.path))
            val facts = readFacts(audio, question.path)
            put("sample_rate", facts.sampleRate)
            put("samples", facts.samples)
            val settings = FeatureSettings(sampleRate = facts.sampleRate)
            writeFloats(file("waveform"), readWaveform(audio, settings, question.path))
        }
        is Store -> {
            answerStore(question, file)
        }
    }
}

private fun JsonObjectBuilder.answerStore(question: Store, file: (String) -> File) {
    val store = SqlExampleStore(JdbcDatabase(File(question.path)))
    val found = Split.entries.flatMap(store::examples)
    putJsonArray("texts") { found.forEach { add(it.transcript) } }
    putJsonArray("samples") { found.forEach { add(it.samples) } }
    putJsonArray("sources") { found.forEach { add(it.source.id) } }
    put("held_bytes", store.heldBytes())
    (store.audio(found.first()) as? Audio.Held)?.let { file("audio").writeBytes(it.wav) }
    store.markUsed(found.map { it.id }, round = 7)
    val wav = Audio.Held(File(question.wav).readBytes())
    put("added", store.add(NewExample(wav, "Quite  NEW", Source.CORRECTION, Split.TEST)))
}

private fun draw(question: Draws, file: (String) -> File) {
    val purpose = Purpose.entries.single { it.id == question.purpose }
    val stream = Stream(question.seed, question.clientId, question.round, purpose)
    writeInts(file("words"), stream.words(question.words))
    writeFloats(file("normals"), stream.normals(question.normals))
    writeFloats(file("uniforms"), stream.uniforms(question.uniforms))
    writeInts(file("permutation"), stream.permutation(question.permutation))
}

private fun JsonObjectBuilder.answerTexts(question: Texts) {
    val vocabulary = manifestOf(question.task).vocabulary
    putJsonArray("ids") {
        for (text in question.texts) {
            try {
                val ids = vocabulary.encode(text)
                addJsonArray { ids.forEach { add(it) } }
            } catch (error: FedvoiceException) {
                add(error.message)
            }
        }
    }
    putJsonArray("texts") { question.ids.forEach { add(vocabulary.decode(it.toIntArray())) } }
}

private fun JsonObjectBuilder.answerCourse(job: TrainingJob, engine: Engine) {
    val plan = planOf(job.plan)
    val examples = examplesOf(job, engine)
    val course = drawCourse(engine.manifest, examples, plan, job.clientId, job.round)
    put("skipped", course.skipped)
    putJsonArray("used") { course.used.forEach { add(it) } }
    putJsonArray("buckets") { course.buckets.forEach { add(it) } }
    putJsonArray("noise_offsets") { course.noiseOffsets.forEach { add(it) } }
    putJsonArray("draw_offsets") { course.drawOffsets.forEach { add(it) } }
    putJsonArray("steps") {
        for (step in course.steps) {
            addJsonArray {
                add(step.epoch)
                addJsonArray { step.batch.forEach { add(it) } }
            }
        }
    }
}

private fun JsonObjectBuilder.answerTraining(question: Training, file: (String) -> File) {
    val job = question.job
    val plan = planOf(job.plan)
    val initial = readFloats(job.weights)
    val checkpoint = Checkpoint(file("checkpoint"), everySecs = 0.0)
    var left = question.stopAfter

    fun run(shouldStop: () -> Boolean) =
        engineOf(job.task).use { engine ->
            val examples = examplesOf(job, engine)
            train(
                engine,
                examples,
                plan,
                initial,
                job.clientId,
                job.round,
                checkpoint,
                shouldStop = shouldStop,
            )
        }
    if (question.stopAfter > 0) {
        val stopped = run { left-- == 0 }
        check(stopped.status == TrainingStatus.STOPPED) { "${stopped.status}, wanted STOPPED" }
        put("stopped_after", stopped.statistics.steps)
    }
    val result = run { false }
    put(
        "status",
        result.status.name
            .lowercase()
            .replace('_', '-'),
    )
    put("detail", result.detail)
    putJsonArray("used") { result.used.forEach { add(it) } }
    file("statistics").writeBytes(result.statistics.toByteArray())
    result.delta?.let { writeFloats(file("delta"), it) }
}

private fun JsonObjectBuilder.answerStreamed(question: Streamed, engine: StreamingEngine) {
    val tokens = engine.manifest.vocabulary.tokens
    val lm = question.lm.ifEmpty { null }?.let { readLanguageModel(File(it), tokens) }
    val search = SearchSettings(question.beam, question.lmWeight, question.insertionBonus)
    val recogniser = StreamingRecogniser(engine, readFloats(question.weights), search, lm)
    val samples = readFloats(question.waveform).toList().chunked(question.piece)
    val heard = samples.flatMap { recogniser.accept(it.toFloatArray()) } + recogniser.finish()
    putJsonArray("results") {
        for (result in heard) {
            addJsonObject {
                put("text", result.text)
                putJsonArray("tokens") { result.tokens.forEach { add(it) } }
                putJsonArray("token_secs") { result.tokenSecs.forEach { add(it) } }
                put("score", result.score)
                put("begin_secs", result.beginSecs)
                put("end_secs", result.endSecs)
                put("final", result.ended)
            }
        }
    }
}

private fun JsonObjectBuilder.recognise(job: TrainingJob, engine: Engine) {
    val manifest = engine.manifest
    val weights = readFloats(job.weights)
    val examples = examplesOf(job, engine)
    val batches = BatchMaker(manifest)
    putJsonArray("ids") {
        for (index in 0 until examples.size) {
            val example = examples[index]
            val frames = manifest.features.stackedFrames(example.frames)
            val bucket = checkNotNull(manifest.bucketFor(frames, example.targets.size))
            val batch = batches.make(listOf(example), bucket, weight = 0f)
            val heard = engine.decode(bucket, weights, batch.features, batch.frameCounts)
            addJsonArray { heard.first().forEach { add(it) } }
        }
    }
    val counts = checkNotNull(evaluate(engine, examples, weights))
    put("word_errors", counts.wordErrors)
    put("words", counts.words)
    put("char_errors", counts.charErrors)
    put("chars", counts.chars)
    put("utterances", counts.utterances)
    put("planned_memory_bytes", counts.plannedMemoryBytes)
}
