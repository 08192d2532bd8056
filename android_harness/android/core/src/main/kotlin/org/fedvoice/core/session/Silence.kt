package org.fedvoice.core.session

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.currentCoroutineContext
import kotlinx.coroutines.delay
import kotlinx.coroutines.isActive
import kotlinx.coroutines.job
import kotlinx.coroutines.launch
import java.util.concurrent.atomic.AtomicBoolean
import java.util.concurrent.atomic.AtomicLong
import kotlin.time.Duration.Companion.nanoseconds

/**
 * Runs a call, and breaks it off once nothing has moved for [longestSecs]. gRPC's deadline is of a
 * whole call: one that would end a silent call in time would end a slow one too.
 *
 * @param call is given what it calls, from any thread, when a message has gone or come
 * @throws CallFailure if it was silent
 */
internal suspend fun <T> unlessSilent(
    longestSecs: Double,
    call: suspend (moved: () -> Unit) -> T,
): T {
    val movedAt = AtomicLong(System.nanoTime())
    val silent = AtomicBoolean()
    try {
        return coroutineScope {
            val running = coroutineContext.job
            val watch =
                launch {
                    while (true) {
                        val silence = System.nanoTime() - movedAt.get()
                        val left = (longestSecs * NANOS).toLong() - silence
                        if (left <= 0) break
                        delay(left.nanoseconds)
                    }
                    silent.set(true)
                    running.cancel()
                }
            try {
                call { movedAt.set(System.nanoTime()) }
            } finally {
                watch.cancel()
            }
        }
    } catch (error: CancellationException) {
        if (!silent.get() || !currentCoroutineContext().isActive) throw error
        val text = "nothing has moved for $longestSecs s"
        throw CallFailure(FailureKind.TRANSIENT, "DEADLINE_EXCEEDED", text, error)
    }
}

private const val NANOS = 1e9
