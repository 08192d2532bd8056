package org.fedvoice.core.session

import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.runBlocking
import java.io.File

/** Another process of the app: holds the lock on a file until it is killed. */
fun main(arguments: Array<String>) =
    runBlocking {
        ProcessLock(File(arguments.single())).ifFree {
            println("held")
            awaitCancellation()
        }
        Unit
    }
