package org.fedvoice.dictation

import android.icu.text.PluralRules
import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.annotation.Config
import org.w3c.dom.Element
import java.io.File
import java.util.Locale
import javax.xml.parsers.DocumentBuilderFactory

/** Every word that a person sees is a resource, in every language. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [35])
class StringsTest {
    private val main = File("src/main")
    private val english = words("values")

    @Test
    fun `every language has every string, with the same placeholders`() {
        assertTrue("nothing read", english.size > 50)
        for (folder in listOf("values-de", "values-es", "values-zh")) {
            val words = words(folder)
            assertEquals(folder, english.keys, words.keys)
            for ((name, texts) in words) {
                val wanted = placeholders(english.getValue(name).getValue(OTHER))
                assertTrue("$folder: $name is empty", texts.values.none { it.isBlank() })
                for (text in texts.values) {
                    assertEquals("$folder: $name", wanted, placeholders(text))
                }
            }
        }
    }

    @Test
    fun `plurals have every form that the language counts with`() {
        for (language in listOf("en", "de", "es", "zh")) {
            val rules = PluralRules.forLocale(Locale.forLanguageTag(language))
            val wanted = (1..2000).map { rules.select(it.toDouble()) }.toSet()
            val folder = if (language == "en") "values" else "values-$language"
            val plurals = words(folder).filterKeys { it.startsWith(PLURALS) }
            assertTrue("nothing read", plurals.isNotEmpty())
            for ((name, texts) in plurals) {
                assertTrue("$folder: $name has not all of $wanted", texts.keys.containsAll(wanted))
            }
        }
    }

    @Test
    fun `no string is left over`() {
        val files = main.walk().filter { it.extension in setOf("kt", "xml") && it.name != STRINGS }
        val text = files.joinToString("\n") { it.readText() }
        val unused =
            english.keys.map { it.removePrefix(PLURALS) }.filterNot { name ->
                Regex("(R\\.string\\.|R\\.plurals\\.|@string/)$name\\b").containsMatchIn(text)
            }
        assertEquals(emptyList<String>(), unused)
    }

    @Test
    fun `layouts, manifest and code have no words of their own`() {
        val attributes = Regex("android:(text|hint|contentDescription|title|label)=\"([^\"]*)\"")
        val inXml =
            main.walk().filter { it.extension == "xml" }.flatMap { file ->
                attributes.findAll(file.readText()).map { it.groupValues[2] }
            }
        assertEquals(emptyList<String>(), inXml.filterNot { it.startsWith("@") }.toList())

        // Two words in a row; what is thrown or checked goes to the log.
        val sentence = Regex("\"[^\"]*\\p{L} \\p{L}[^\"]*\"")
        val inCode =
            main.walk().filter { it.extension == "kt" }.flatMap { it.readLines() }.filter { line ->
                val isNoted =
                    Regex(
                        "^\\s*(\\*|/\\*|//|check\\()|Exception\\(",
                    ).containsMatchIn(line)
                !isNoted && line.substringBefore(" // ").contains(sentence)
            }
        assertEquals(emptyList<String>(), inCode.toList())
    }

    /** Texts by quantity, by name; what has no quantity counts as [OTHER]. */
    private fun words(folder: String): Map<String, Map<String, String>> {
        val file = File(main, "res/$folder/$STRINGS")
        val root = DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(file)
        val strings =
            root.elements("string").associate {
                it.getAttribute("name") to mapOf(OTHER to it.textContent)
            }
        val plurals =
            root.elements("plurals").associate { plural ->
                val items = plural.ownerDocument.elements("item").filter { it.parentNode == plural }
                val texts = items.associate { it.getAttribute("quantity") to it.textContent }
                PLURALS + plural.getAttribute("name") to texts
            }
        return strings + plurals
    }

    private fun org.w3c.dom.Document.elements(tag: String): List<Element> {
        val nodes = getElementsByTagName(tag)
        return List(nodes.length) { nodes.item(it) as Element }
    }

    private fun placeholders(text: String) =
        Regex("%\\d\\$[sd]").findAll(text).map { it.value }.toSortedSet()

    private companion object {
        const val STRINGS = "strings.xml"
        const val PLURALS = "plurals:"
        const val OTHER = "other"
    }
}
