package org.fedvoice.dictation

import org.junit.Assert.assertEquals
import org.junit.Assert.assertTrue
import org.junit.Test
import java.io.File
import javax.xml.parsers.DocumentBuilderFactory

/** This build does not merge manifests as Gradle does: the app's holds the library's by hand. */
class ManifestTest {
    private val app = entries("src/main/AndroidManifest.xml")
    private val sdk = entries("../sdk/src/main/AndroidManifest.xml")

    @Test
    fun `the app's manifest holds all of the library's`() {
        assertTrue("nothing read", sdk.size >= 8)
        assertEquals(emptySet<String>(), sdk - app)
    }

    /** Every element with its attributes, as text. */
    private fun entries(path: String): Set<String> {
        val document = DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(File(path))
        val names = listOf("uses-permission", "service", "receiver", "action")
        return names
            .flatMap { name ->
                val nodes = document.getElementsByTagName(name)
                List(nodes.length) { nodes.item(it) }
            }.map { node ->
                val attributes =
                    List(node.attributes.length) { node.attributes.item(it).toString() }
                "${node.nodeName} ${attributes.sorted()}"
            }.toSet()
    }
}
