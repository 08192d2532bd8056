package org.fedvoice.core.recognition

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.io.File
import java.io.IOException
import java.io.InputStreamReader
import java.nio.charset.CharacterCodingException
import kotlin.math.ln

/**
 * An n-gram model with back-off (Katz 1987). The counterpart of that in
 * `device_runtime/recognition/language.py`.
 *
 * @param logP by ids, natural logs; [BEGIN] stands for the sentence's begin
 * @param unknown log probability of a token that the model has not
 */
private class NGrams(
    private val order: Int,
    private val logP: Map<List<Int>, Double>,
    private val backOff: Map<List<Int>, Double>,
    private val unknown: Double,
    private val size: Int,
) {
    private val cache =
        object : LinkedHashMap<List<Int>, DoubleArray>(INITIAL, LOAD, true) {
            override fun removeEldestEntry(eldest: Map.Entry<List<Int>, DoubleArray>) =
                size > CACHED_CONTEXTS
        }

    /** The model after [context], of which the last n - 1 ids count. */
    inner class After(context: List<Int>) : LanguageModel {
        private val context = context.takeLast(order - 1)
        override val logP: DoubleArray
            get() = cache.getOrPut(context) { DoubleArray(size) { logPOf(context, it) } }

        override fun after(token: Int) = After(context + token)
    }

    private fun logPOf(context: List<Int>, token: Int): Double {
        var backedOff = 0.0
        for (begin in 0..context.size) {
            val shorter = context.subList(begin, context.size)
            logP[shorter + token]?.let { return backedOff + it }
            if (shorter.isNotEmpty()) backedOff += backOff[shorter] ?: 0.0
        }
        return backedOff + unknown
    }

    private companion object {
        const val INITIAL = 16
        const val LOAD = 0.75f

        /** Contexts whose log probabilities are kept: 4 MB of 512 tokens. */
        const val CACHED_CONTEXTS = 1024
    }
}

/**
 * An ARPA file over a task's tokens; tokens[0] is the blank. For one thread.
 *
 * N-grams with words that are no tokens are left out: the task cannot say them.
 *
 * @return the model before a sentence
 * @throws FedvoiceException `not-found`; `bad-config` with the line that is none of an ARPA file,
 *   for an order above 10, or for a model that has not all tokens and no <unk>
 */
fun readArpa(file: File, tokens: List<String>): LanguageModel {
    val reading = ArpaReading(file, tokens)
    try {
        // The decoder refuses what is not UTF-8.
        InputStreamReader(file.inputStream(), Charsets.UTF_8.newDecoder()).useLines { lines ->
            for (line in lines.map { it.trim(::isSpace) }) {
                reading.hear(line)
                if (reading.hasEnded) break
            }
        }
    } catch (_: CharacterCodingException) {
        throw notArpa(file, 0, "bytes that are not UTF-8", ARPA)
    } catch (error: IOException) {
        throw FedvoiceException(
            ErrorCode.NOT_FOUND,
            where = file.path,
            got = error.message.orEmpty(),
            wanted = ARPA,
            nextStep = "Check the path.",
            cause = error,
        )
    }
    return reading.model()
}

private class ArpaReading(private val file: File, private val tokens: List<String>) {
    private val ids = tokens.withIndex().drop(1).associate { (id, token) -> token to id } + MARKS
    private val logP = HashMap<List<Int>, Double>()
    private val backOff = HashMap<List<Int>, Double>()
    private var unknown = Double.NEGATIVE_INFINITY
    private var section = 0
    private var number = 0
    var hasEnded = false
        private set

    /** The next line. */
    fun hear(line: String) {
        number++
        when {
            line == END -> hasEnded = true
            line == "\\data\\" -> Unit
            line.startsWith("\\") -> begin(line)
            // Else the counts below \data\, or what stands before it.
            line.isNotEmpty() && section > 0 -> hearGram(line)
        }
    }

    private fun begin(line: String) {
        if (line != "\\${section + 1}-grams:") refuse(line, "\\${section + 1}-grams: or $END")
        section++
        if (section > MAX_ORDER) refuse(line, "an order of at most $MAX_ORDER")
    }

    private fun hearGram(line: String) {
        val fields = line.split(SPACES)
        if (fields.size !in section + 1..section + 2) {
            refuse(line, "a number, $section words, a back-off weight or none")
        }
        val words = fields.subList(1, section + 1)
        val numbers = listOf(fields.first(), fields.getOrElse(section + 1) { "0" })
        if (!numbers.all(NUMBER::matches)) refuse(line, "numbers at its begin and end")
        val (score, weight) = numbers.map { it.toDouble() * LOG_10 }
        if (!score.isFinite() || !weight.isFinite()) {
            refuse(line, "finite logarithms to the base of 10")
        }
        if (words.singleOrNull() in UNKNOWN) unknown = score
        val gram = words.mapNotNull(ids::get)
        if (gram.size == section) {
            logP[gram] = score
            backOff[gram] = weight
        }
    }

    fun model(): LanguageModel {
        if (!hasEnded || logP.isEmpty()) {
            val got = if (logP.isEmpty()) "no n-gram of the task's tokens" else "no $END"
            throw notArpa(file, 0, got, ARPA)
        }
        val missing = (1 until tokens.size).filter { listOf(it) !in logP }.map(tokens::get)
        if (missing.isNotEmpty() && unknown == Double.NEGATIVE_INFINITY) {
            val some = missing.take(5).joinToString()
            throw FedvoiceException(
                ErrorCode.BAD_CONFIG,
                where = file.path,
                got = "no <unk>, and not ${missing.size} of the task's tokens: $some",
                wanted = "a model of the task's tokens",
                nextStep = "Make it of texts written in the task's tokens, or with <unk>.",
            )
        }
        // A sentence's end that the model does not know costs nothing rather than everything.
        logP.putIfAbsent(listOf(BLANK), 0.0)
        return NGrams(section, logP, backOff, unknown, tokens.size).After(listOf(BEGIN))
    }

    private fun refuse(line: String, wanted: String): Nothing =
        throw notArpa(file, number, line, wanted)
}

private fun notArpa(file: File, line: Int, got: String, wanted: String) =
    FedvoiceException(
        ErrorCode.BAD_CONFIG,
        where = if (line > 0) "${file.path}, line $line" else file.path,
        got = got.take(100),
        wanted = wanted,
        nextStep = "Write the model again: SRILM, KenLM's lmplz and others write ARPA files.",
    )

/** As Python has it. */
private fun isSpace(character: Char) = character.isWhitespace() || character == '\u0085'

private const val BEGIN = -1
private const val END = "\\end\\"
private const val MAX_ORDER = 10
private const val ARPA = "an n-gram model in ARPA's format, from \\data\\ to \\end\\"
private val MARKS = mapOf("<s>" to BEGIN, "</s>" to BLANK)
private val UNKNOWN = setOf("<unk>", "<UNK>")
private val NUMBER = Regex("[+-]?([0-9]+\\.?[0-9]*|\\.[0-9]+)([eE][+-]?[0-9]+)?")
private val SPACES = Regex("[\\s\\p{Z}\\u001c-\\u001f\\u0085]+")
private val LOG_10 = ln(10.0)
