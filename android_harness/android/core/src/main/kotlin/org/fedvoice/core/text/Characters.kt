package org.fedvoice.core.text

/**
 * Characters of one pinned version of Unicode: classes, lower case, canonical composition.
 *
 * The counterpart of `protocol/characters.py`. No table of the platform is asked, which knows other
 * versions on every phone. Characters that are newer pass unchanged. Texts are code points.
 */
internal object Characters {
    /** Class of characters that the pinned version lacks. */
    const val NEWER: Char = 'u'
    private const val DOT_ABOVE = 0x307
    private const val SIGMA = 0x3A3
    private const val FINAL_SIGMA = 0x3C2
    private const val SMALL_SIGMA = 0x3C3
    private const val ABOVE = 230

    private val starts: IntArray
    private val ends: IntArray
    private val kinds: CharArray
    private val lower: Map<Int, Int>
    private val cased = Ranges(TextTables.CASED)
    private val caseIgnorable = Ranges(TextTables.CASE_IGNORABLE)

    init {
        val found =
            TextTables.CLASSES
                .flatMap { (kind, table) -> rangesOf(table).map { it to kind } }
                .sortedBy { (range, _) -> range.first }
        starts = IntArray(found.size) { found[it].first.first }
        ends = IntArray(found.size) { found[it].first.last }
        kinds = CharArray(found.size) { found[it].second }
        lower = HashMap()
        for (run in TextTables.LOWER_CASE.split(' ')) {
            val (start, count, step) = run.split(':').map { it.toInt(36) }
            val shift = run.substringAfterLast(':').toInt(36)
            repeat(count) { lower[start + it * step] = start + it * step + shift }
        }
    }

    /** The class of a code point, by `generate_text_tables.classes`; ' ' for punctuation. */
    fun kindOf(point: Int): Char {
        val found = starts.binarySearch(point)
        val place = if (found >= 0) found else -found - 2
        return if (place >= 0 && point <= ends[place]) kinds[place] else ' '
    }

    /** The classes of all characters. */
    fun kindsOf(text: IntArray): CharArray = CharArray(text.size) { kindOf(text[it]) }

    /**
     * Full lower case (Unicode 3.13, SpecialCasing.txt) of composed text.
     *
     * @param language `tr` and `az` have a dotless i, `lt` keeps the dot of i below accents
     */
    fun lowerCase(text: IntArray, language: String): IntArray {
        val special =
            when (language) {
                "tr", "az" -> turkic(text)
                "lt" -> lithuanian(text)
                else -> text
            }
        val out = Points(special.size)
        for ((place, point) in special.withIndex()) {
            when {
                point == SIGMA -> out += if (isFinal(special, place)) FINAL_SIGMA else SMALL_SIGMA
                point == 0x130 -> out.add('i'.code, DOT_ABOVE)
                else -> out += lower[point] ?: point
            }
        }
        return out.toArray()
    }

    /** Final_Sigma: a cased letter before, none after, case-ignorable characters passed over. */
    private fun isFinal(text: IntArray, place: Int): Boolean {
        var before = place - 1
        while (before >= 0 && text[before] in caseIgnorable) before -= 1
        if (before < 0 || text[before] !in cased) return false
        var after = place + 1
        while (after < text.size && text[after] in caseIgnorable) after += 1
        return after == text.size || text[after] !in cased
    }

    /** I is dotless; I with a dot above, one character or two, is i. */
    private fun turkic(text: IntArray): IntArray {
        val out = text.copyOf()
        val gone = -1
        for ((place, point) in text.withIndex()) {
            if (point == 0x130) out[place] = 'i'.code
            if (point != 'I'.code) continue
            out[place] = 0x131
            for (i in place + 1 until text.size) {
                val combining = Composition.combiningClass(text[i])
                if (combining == 0) break
                if (text[i] == DOT_ABOVE) {
                    out[place] = 'i'.code
                    out[i] = gone
                }
                if (combining == ABOVE) break
            }
        }
        return out.filter { it != gone }.toIntArray()
    }

    /** The dot of I, J and I with ogonek stays where an accent stands above it. */
    private fun lithuanian(text: IntArray): IntArray {
        val out = Points(text.size)
        for ((place, point) in text.withIndex()) {
            val accent =
                when (point) {
                    0xCC -> 0x300
                    0xCD -> 0x301
                    0x128 -> 0x303
                    else -> 0
                }
            when {
                accent != 0 -> {
                    out.add('i'.code, DOT_ABOVE)
                    out += accent
                }
                point in intArrayOf('I'.code, 'J'.code, 0x12E) && accentAbove(text, place) -> {
                    out.add(lower.getValue(point), DOT_ABOVE)
                }
                else -> {
                    out += point
                }
            }
        }
        return out.toArray()
    }

    private fun accentAbove(text: IntArray, place: Int): Boolean =
        (place + 1 until text.size)
            .asSequence()
            .map { Composition.combiningClass(text[it]) }
            .takeWhile { it != 0 }
            .any { it == ABOVE }
}

/** A growing list of code points. */
internal class Points(size: Int = 16) {
    private var held = IntArray(maxOf(size, 4))
    var size = 0
        private set

    operator fun plusAssign(point: Int) {
        if (size == held.size) held = held.copyOf(2 * size)
        held[size++] = point
    }

    fun add(first: Int, second: Int) {
        this += first
        this += second
    }

    fun toArray(): IntArray = held.copyOf(size)
}

/** A set of code points, from a table. */
internal class Ranges(table: String) {
    private val parts = rangesOf(table)
    private val starts = IntArray(parts.size) { parts[it].first }

    operator fun contains(point: Int): Boolean {
        val found = starts.binarySearch(point)
        return found >= 0 || (found < -1 && point <= parts[-found - 2].last)
    }
}

/** `gap` or `gap+length`, in base 36, the gap from the end of the range before. */
internal fun rangesOf(table: String): List<IntRange> {
    var end = 0
    return table.split(' ').map { part ->
        val start = end + part.substringBefore('+').toInt(36)
        end = start + part.substringAfter('+', "1").toInt(36)
        start until end
    }
}

/** The code points of a text; a lone surrogate is one. */
internal fun pointsOf(text: String): IntArray {
    val out = Points(text.length)
    var place = 0
    while (place < text.length) {
        val point = text.codePointAt(place)
        out += point
        place += Character.charCount(point)
    }
    return out.toArray()
}

/** Code points as a text. */
internal fun textOf(points: IntArray): String = String(points, 0, points.size)
