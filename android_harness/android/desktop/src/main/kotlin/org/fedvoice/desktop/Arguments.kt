package org.fedvoice.desktop

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException

/** A command's arguments, taken one after another; an unused one is an error. */
class Arguments(words: List<String>) {
    private val words = words.toMutableList()

    /** Whether `--name` is there. */
    fun flag(name: String): Boolean = words.remove("--$name")

    /** The word after `--name`; null if it is not there. */
    fun option(name: String): String? {
        val at = words.indexOf("--$name")
        if (at < 0) return null
        words.removeAt(at)
        if (at >= words.size) throw bad("--$name", "nothing", "a value after it")
        return words.removeAt(at)
    }

    /** A number after `--name`. */
    fun number(name: String): Double? =
        option(name)?.let { text ->
            text.toDoubleOrNull()?.takeIf { it >= 0 && it.isFinite() }
                ?: throw bad("--$name", text, "a number, 0 or more")
        }

    /** The word after `--name`, which must be there. */
    fun required(name: String): String = option(name) ?: throw bad("--$name", "nothing", "a value")

    /** The next word that is not an option. */
    fun word(what: String): String =
        words.indexOfFirst { !it.startsWith("--") }.takeIf { it >= 0 }?.let(words::removeAt)
            ?: throw bad(what, "nothing", "its name")

    /** To be called when everything was taken. */
    fun end() {
        words.firstOrNull()?.let { throw bad("the arguments", it, "an option of this command") }
    }

    private fun bad(where: String, got: String, wanted: String) =
        FedvoiceException(
            ErrorCode.BAD_CONFIG,
            where = where,
            got = got,
            wanted = wanted,
            nextStep = "Correct the command.",
        )
}
