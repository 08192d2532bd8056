package org.fedvoice.desktop

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import kotlin.system.exitProcess

private val COMMANDS: Map<String, (List<String>) -> Int> =
    mapOf(
        "run" to { words -> run(Arguments(words)) },
        "fleet" to { words -> fleet(Arguments(words)) },
        "app" to { words -> app(Arguments(words)) },
        "conform" to { words -> conform(words).let { 0 } },
        "bench" to { words -> bench(words).let { 0 } },
    )

/**
 * The Kotlin phone as a process on a desktop: `run` one phone, a `fleet` of many, or the `app` that
 * an emulated device has behind adb; `conform` and `bench` answer the tests and the benchmark.
 *
 * Ends with status 2 and the four facts on stderr after an error, as `fedvoice` does.
 */
fun main(arguments: Array<String>) {
    val status =
        try {
            val name = arguments.firstOrNull()
            val command =
                COMMANDS[name] ?: throw FedvoiceException(
                    ErrorCode.BAD_CONFIG,
                    where = "the first argument",
                    got = name ?: "none",
                    wanted = "one of ${COMMANDS.keys.joinToString()}",
                    nextStep = "Name one of them.",
                )
            command(arguments.drop(1))
        } catch (error: FedvoiceException) {
            explain(error)
            ERROR_STATUS
        }
    // fbjni's destructor thread would keep the process alive.
    exitProcess(status)
}

/** The four facts of an error, as `fedvoice` prints them. */
internal fun explain(error: FedvoiceException) {
    System.err.println(
        """
        |fedvoice: ${error.code.id} at ${error.where}
        |  got:    ${error.got}
        |  wanted: ${error.wanted}
        |  next:   ${error.nextStep}
        """.trimMargin(),
    )
}

internal const val ERROR_STATUS = 2
