package org.fedvoice.desktop

import kotlin.system.exitProcess

/** The Kotlin phone as a process on a desktop: `conform JOB.json` or `bench JOB.json`. */
fun main(arguments: Array<String>) {
    val rest = arguments.drop(1)
    when (arguments.firstOrNull()) {
        "conform" -> conform(rest)
        "bench" -> bench(rest)
        else -> {
            System.err.println("usage: conform JOB.json | bench JOB.json")
            exitProcess(2)
        }
    }
    // fbjni's threads would keep the process alive.
    exitProcess(0)
}
