package org.fedvoice.core.text

import kotlinx.serialization.SerialName
import kotlinx.serialization.Serializable
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.util.Locale

/** What happens to capitals. */
@Serializable
enum class Case {
    @SerialName("lower")
    LOWER,

    @SerialName("keep")
    KEEP,
}

/** What happens to characters of a kind. */
@Serializable
enum class Treatment {
    @SerialName("drop")
    DROP,

    @SerialName("keep")
    KEEP,

    /** The utterance is left out, and counted as `unsupported-text`. */
    @SerialName("refuse")
    REFUSE,
}

/**
 * The text rule: how a transcript becomes the words that are trained on and scored.
 *
 * The counterpart of `protocol/text.py`, which says what each setting does;
 * `tests/protocol/texts.json` holds both to the same values.
 */
@Serializable
data class TextRule(
    val language: String = "",
    val case: Case = Case.LOWER,
    val punctuation: Treatment = Treatment.DROP,
    val digits: Treatment = Treatment.REFUSE,
    val tags: Treatment = Treatment.REFUSE,
) {
    /**
     * The words of a transcript, one space between them; the same on every platform.
     *
     * @throws FedvoiceException `unsupported-text` for what the rule refuses, and for text that was
     *   decoded wrongly (U+FFFD, lone surrogates)
     */
    fun normalise(text: String): String {
        val written = textOf(withOneApostrophe(lowered(cleaned(pointsOf(text)))))
        val words = mutableListOf<String>()
        var end = 0
        for (tag in TAGS.findAll(written)) {
            if (tags == Treatment.REFUSE) {
                throw refused(written, "tags", "'${tag.value}' in brackets")
            }
            words += words(written.substring(end, tag.range.first))
            if (tags == Treatment.KEEP) words += parts(tag.value)
            end = tag.range.last + 1
        }
        words += words(written.substring(end))
        return words.joinToString(" ")
    }

    private fun lowered(text: IntArray): IntArray {
        if (case == Case.KEEP) return text
        val primary = language.substringBefore('-').lowercase(Locale.ROOT)
        return Composition.composed(Characters.lowerCase(text, primary))
    }

    /** The words of a text without tags. */
    private fun words(written: String): List<String> {
        val text = pointsOf(written)
        val kinds = Characters.kindsOf(text)
        if (digits != Treatment.KEEP) {
            for ((place, kind) in kinds.withIndex()) {
                if (kind != 'n' && kind != 's') continue
                if (digits == Treatment.REFUSE) throw refused(written, "digits", named(text[place]))
                kinds[place] = ' '
                if (punctuation == Treatment.KEEP) text[place] = ' '.code
            }
        }
        if (punctuation == Treatment.KEEP) return parts(textOf(text))
        val words = mutableListOf<String>()
        var place = 0
        while (place < text.size) {
            val end = endOfWord(kinds, place)
            if (end > place) {
                words += textOf(withoutEdgeJoiners(text.copyOfRange(place, end)))
                place = end
                continue
            }
            val dropped = kinds[place] !in "wzj" && text[place] != ' '.code
            if (dropped && punctuation == Treatment.REFUSE) {
                throw refused(written, "punctuation", named(text[place]))
            }
            place += 1
        }
        return words
    }

    private companion object {
        val TAGS =
            Regex(
                "\\[[^\\[\\]]*\\]|<[^<>]*>|\\([^()]*\\)|\\{[^{}]*\\}|（[^（）]*）|" +
                    "［[^［］]*］|＜[^＜＞]*＞|【[^【】]*】",
            )
        val NEXT_STEPS =
            mapOf(
                "digits" to
                    "Write numbers and signs as they are said, or set digits of vocabulary.text.",
                "tags" to "Write what was said, or set tags of vocabulary.text to drop or keep.",
                "punctuation" to
                    "Correct the transcript, or let vocabulary.text drop punctuation.",
            )

        fun parts(text: String): List<String> = text.split(' ').filter { it.isNotEmpty() }

        fun named(point: Int): String =
            "'${textOf(intArrayOf(point))}' (${"U+%04X".format(Locale.ROOT, point)})"

        fun refused(text: String, kind: String, got: String) =
            FedvoiceException(
                ErrorCode.UNSUPPORTED_TEXT,
                where = "transcript '$text'",
                got = got,
                wanted = "text whose $kind the task's text rule takes",
                nextStep = NEXT_STEPS.getValue(kind),
            )
    }
}

/** How many characters are newer than the pinned version of Unicode: they pass unchanged. */
fun unknownCharacters(text: String): Int =
    pointsOf(text).count { Characters.kindOf(it) == Characters.NEWER }

private const val LETTERS = "ahnouqs"
private const val MARKS = "mvzj"
private const val ZWNJ = 0x200C
private const val ZWJ = 0x200D
private const val LETTER_APOSTROPHE = 0x2BC

private val FOLDED: Map<Int, Int> =
    "\u2019\u2018\u201b\u2032\uff07\u055a\u00b4\u0060".associate { it.code to '\''.code } +
        "\u2010\u2011\ufe63\uff0d\u2212\u058a\u05be".associate { it.code to '-'.code } +
        mapOf(0xF0C to 0xF0B)

/** Composed; white space and controls as spaces, invisible characters away, marks of one kind. */
private fun cleaned(text: IntArray): IntArray {
    val out = Points(text.size)
    for (point in text) {
        when (Characters.kindOf(point)) {
            'x' -> throw broken(point)
            'i' -> Unit
            'w' -> out += ' '.code
            else -> out += point
        }
    }
    val composed = Composition.composed(out.toArray())
    return IntArray(composed.size) { FOLDED[composed[it]] ?: composed[it] }
}

private fun broken(point: Int) =
    FedvoiceException(
        ErrorCode.UNSUPPORTED_TEXT,
        where = "transcript",
        got = "U+%04X".format(Locale.ROOT, point),
        wanted = "text that was decoded rightly",
        nextStep = "Save the transcript as UTF-8 from its own encoding.",
    )

/**
 * The letter apostrophe inside a word as an apostrophe; inside Hebrew words quotes as geresh and
 * gershayim.
 */
private fun withOneApostrophe(text: IntArray): IntArray {
    val kinds = Characters.kindsOf(text)
    val out = text.copyOf()
    for (place in 1 until text.size - 1) {
        val inside = kinds[place - 1] in "ahnousmv" && kinds[place + 1] in "ahnous"
        if (text[place] == LETTER_APOSTROPHE && inside) out[place] = '\''.code
    }
    for (place in 1 until out.size - 1) {
        val mark =
            when (out[place]) {
                '\''.code -> 0x5F3
                '"'.code -> 0x5F4
                else -> continue
            }
        if (kinds[place + 1] == 'h' && baseBefore(kinds, place) == 'h') out[place] = mark
    }
    return out
}

/** The class of the letter whose marks stand before [place]. */
private fun baseBefore(kinds: CharArray, place: Int): Char {
    var base = place - 1
    while (base > 0 && kinds[base] in "mv") base -= 1
    return kinds[base]
}

/**
 * Where the word that begins at [start] ends; [start] if none begins there. What stands between two
 * letters belongs to it by UAX 29 (WB4 to WB13), and apostrophe and hyphen between any two.
 */
private fun endOfWord(kinds: CharArray, start: Int): Int {
    var place = start
    while (place < kinds.size && kinds[place] in LETTERS) {
        val letter = kinds[place]
        place += 1
        while (place < kinds.size && kinds[place] in MARKS) place += 1
        if (place + 1 < kinds.size && joins(letter, kinds[place], kinds[place + 1])) place += 1
    }
    return place
}

private fun joins(before: Char, mark: Char, after: Char): Boolean =
    when (mark) {
        '-' -> after in LETTERS
        ':' -> before in "ahq" && after in "ahq"
        '.' -> (before in "ahq" && after in "ahq") || (before == 'n' && after == 'n')
        ',' -> before == 'n' && after == 'n'
        else -> false
    }

/** One joiner at a place; none at the end, except where it shapes a virama. */
private fun withoutEdgeJoiners(word: IntArray): IntArray {
    val out = Points(word.size)
    for ((place, point) in word.withIndex()) {
        val again = place > 0 && isJoiner(word[place - 1])
        if (!isJoiner(point) || !again) out += point
    }
    val kept = out.toArray()
    val last = kept.last()
    val shaping = last == ZWJ && Characters.kindOf(kept[kept.size - 2]) == 'v'
    return if (isJoiner(last) && !shaping) kept.copyOf(kept.size - 1) else kept
}

private fun isJoiner(point: Int) = point == ZWNJ || point == ZWJ
