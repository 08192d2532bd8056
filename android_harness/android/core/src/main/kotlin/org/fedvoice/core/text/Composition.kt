package org.fedvoice.core.text

/**
 * Unicode NFC (UAX 15) by the pinned tables: `java.text.Normalizer` is that of the phone's Android,
 * Unicode 10 on the oldest.
 */
internal object Composition {
    private const val HANGUL = 0xAC00
    private const val LEADING = 0x1100
    private const val VOWEL = 0x1161
    private const val TRAILING = 0x11A7
    private const val LEADINGS = 19
    private const val VOWELS = 21
    private const val TRAILINGS = 28
    private const val SYLLABLES = LEADINGS * VOWELS * TRAILINGS

    /** Text below this character is its own canonical composition. */
    private const val FIRST = 0x300

    private val classes = HashMap<Int, Int>()
    private val parts = HashMap<Int, IntArray>()
    private val pairs = HashMap<Long, Int>()

    init {
        for (run in TextTables.COMBINING.split(' ')) {
            val (start, count, combining) = run.split(':').map { it.toInt(36) }
            repeat(count) { classes[start + it] = combining }
        }
        for (entry in TextTables.DECOMPOSITIONS.split(' ')) {
            val points = entry.removePrefix("!").split(':').map { it.toInt(36) }
            parts[points[0]] = points.drop(1).toIntArray()
            if (!entry.startsWith("!")) pairs[pair(points[1], points[2])] = points[0]
        }
    }

    /** Canonical_Combining_Class of a code point. */
    fun combiningClass(point: Int): Int = classes[point] ?: 0

    /** The text in its canonical composition. */
    fun composed(text: IntArray): IntArray {
        if (text.all { it < FIRST }) return text
        val out = Points(text.size)
        for (point in text) decompose(point, out)
        return compose(ordered(out.toArray()))
    }

    private fun decompose(point: Int, out: Points) {
        val syllable = point - HANGUL
        val into = parts[point]
        when {
            syllable in 0 until SYLLABLES -> {
                out.add(
                    LEADING + syllable / (VOWELS * TRAILINGS),
                    VOWEL + syllable % (VOWELS * TRAILINGS) / TRAILINGS,
                )
                if (syllable % TRAILINGS != 0) out += TRAILING + syllable % TRAILINGS
            }
            into != null -> {
                into.forEach { decompose(it, out) }
            }
            else -> {
                out += point
            }
        }
    }

    /** Runs of marks sorted by class, stably. */
    private fun ordered(text: IntArray): IntArray {
        var start = 0
        while (start < text.size) {
            var end = start
            while (end < text.size && combiningClass(text[end]) != 0) end += 1
            if (end - start > 1) {
                val sorted = text.slice(start until end).sortedBy(::combiningClass)
                sorted.forEachIndexed { i, point -> text[start + i] = point }
            }
            start = maxOf(end, start + 1)
        }
        return text
    }

    private fun compose(text: IntArray): IntArray {
        var size = 0
        var starter = -1
        var last = 0
        for (point in text) {
            val combining = combiningClass(point)
            val adjacent = starter == size - 1
            val together =
                if (starter >= 0 && (adjacent || last in 1 until combining)) {
                    pairOf(text[starter], point)
                } else {
                    null
                }
            if (together != null) {
                text[starter] = together
                continue
            }
            if (combining == 0) starter = size
            last = combining
            text[size++] = point
        }
        return text.copyOf(size)
    }

    private fun pairOf(first: Int, second: Int): Int? {
        val leading = first - LEADING
        val vowel = second - VOWEL
        if (leading in 0 until LEADINGS && vowel in 0 until VOWELS) {
            return HANGUL + (leading * VOWELS + vowel) * TRAILINGS
        }
        val syllable = first - HANGUL
        val trailing = second - TRAILING
        if (syllable in 0 until SYLLABLES && syllable % TRAILINGS == 0) {
            if (trailing in 1 until TRAILINGS) return first + trailing
        }
        return pairs[pair(first, second)]
    }

    private fun pair(first: Int, second: Int): Long = (first.toLong() shl 32) or second.toLong()
}
