package org.fedvoice.core.training

import org.fedvoice.core.model.Bucket
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.model.Vocabulary
import org.fedvoice.wire.Statistics

/**
 * Word and character errors of [weights] [P] on the phone's own test examples: decode every usable
 * one greedily; null if [shouldStop] ended it. Characters are counted unless the task's errors are
 * those of labels.
 *
 * @param examples as for [train]
 * @param memoryBaselineBytes resident set before the engine was loaded; null: as of now
 * @throws org.fedvoice.core.FedvoiceException `wrong-shape` if [weights] are not of the task
 */
fun evaluate(
    engine: Engine,
    examples: Examples,
    weights: FloatArray,
    memory: MemoryMeter = ProcMemory,
    memoryBaselineBytes: Long? = null,
    shouldStop: () -> Boolean = { false },
    clock: () -> Double = { System.nanoTime() / 1e9 },
): Statistics? {
    val manifest = engine.manifest
    manifest.parameters.check(weights, "weights to evaluate")
    val peak = PeakMemory(memory, memoryBaselineBytes)
    val started = clock()
    val members = usableByBucket(engine, examples)
    val batches = BatchMaker(manifest)
    val errors = WordErrors()
    val characters = CharacterErrors()
    for ((bucket, indices) in members) {
        for (chunk in indices.chunked(bucket.batch)) {
            if (shouldStop()) return null
            val rows = chunk.map { examples[it] }
            val batch = batches.make(rows, bucket, weight = 0f)
            val heard = engine.decode(bucket, weights, batch.features, batch.frameCounts)
            for ((row, ids) in rows.zip(heard)) {
                val vocabulary = manifest.vocabulary
                val reference = row.text.ifEmpty { vocabulary.decode(row.targets) }
                val hypothesis = vocabulary.decode(ids)
                errors.add(reference, hypothesis)
                characters.add(reference, hypothesis)
            }
            peak.sample()
        }
    }
    return Statistics
        .newBuilder()
        .setExamples(errors.utterances)
        .setTrainSecs(clock() - started)
        .setPeakMemoryBytes(peak.growthBytes())
        .setPlannedMemoryBytes(
            trainingMemoryBytes(
                manifest,
                optimizerStateBytes = 0,
                arenaBytes = members.keys.maxOfOrNull { it.decodeArenaBytes } ?: 0,
            ),
        ).setWordErrors(errors.errors)
        .setWords(errors.words)
        .setUtterances(errors.utterances)
        .setSkippedExamples(examples.size - members.values.sumOf { it.size })
        .apply {
            if (manifest.scoring != TaskManifest.LABELS) {
                setCharErrors(characters.errors).setChars(characters.chars)
            }
        }.build()
}

/** Counts of words over a set of utterances. */
class WordErrors {
    /** Substitutions, deletions and insertions of the best alignments. */
    var errors: Int = 0
        private set

    /** Of the references. */
    var words: Int = 0
        private set
    var utterances: Int = 0
        private set

    /** Count one utterance. */
    fun add(reference: String, hypothesis: String) {
        val wanted = Vocabulary.words(reference)
        errors += editDistance(wanted, Vocabulary.words(hypothesis))
        words += wanted.size
        utterances += 1
    }
}

/**
 * Counts of characters over a set of utterances, as in Python (`protocol/scoring.py`): code points,
 * not UTF-16's units. A space between two words is one; white space at an utterance's ends is none.
 */
class CharacterErrors {
    /** Substitutions, deletions and insertions of the best alignments. */
    var errors: Int = 0
        private set

    /** Of the references. */
    var chars: Int = 0
        private set

    /** Count one utterance. */
    fun add(reference: String, hypothesis: String) {
        val wanted = Vocabulary.codePoints(Vocabulary.strip(reference))
        errors += editDistance(wanted, Vocabulary.codePoints(Vocabulary.strip(hypothesis)))
        chars += wanted.size
    }
}

/** Fewest substitutions, deletions and insertions that turn [from] into [to] (Levenshtein). */
internal fun editDistance(from: List<String>, to: List<String>): Int {
    var row = IntArray(to.size + 1) { it }
    for ((i, word) in from.withIndex()) {
        val next = IntArray(to.size + 1)
        next[0] = i + 1
        for ((j, other) in to.withIndex()) {
            val kept = row[j] + if (word == other) 0 else 1
            next[j + 1] = minOf(kept, row[j + 1] + 1, next[j] + 1)
        }
        row = next
    }
    return row[to.size]
}

private fun usableByBucket(engine: Engine, examples: Examples): Map<Bucket, List<Int>> {
    val members = linkedMapOf<Bucket, MutableList<Int>>()
    for (index in 0 until examples.size) {
        val example = examples.usable(index) ?: continue
        val bucket = bucketOf(example, engine.manifest) ?: continue
        members.getOrPut(bucket) { mutableListOf() } += index
    }
    return members
}
