package org.fedvoice.desktop

import kotlinx.coroutines.CancellationException
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.withTimeoutOrNull
import sun.misc.Signal
import sun.misc.SignalHandler
import java.util.concurrent.atomic.AtomicInteger
import kotlin.time.Duration.Companion.seconds

/** The first Ctrl-C or SIGTERM asks to stop after the current step; a second one ends at once. */
internal class Stopping {
    private val signal = AtomicInteger(0)
    private val asked = CompletableDeferred<Unit>()

    val requested: Boolean get() = asked.isCompleted

    /** 128 + the signal's number, as shells have it. */
    val status: Int get() = SIGNALLED + signal.get()

    /** Listens to signals. */
    fun listen(names: List<String> = listOf("INT", "TERM")): Stopping {
        for (name in names) {
            Signal.handle(Signal(name)) { received ->
                if (requested) Runtime.getRuntime().halt(SIGNALLED + received.number)
                signal.set(received.number)
                Log.info("stopping after this step; once more to stop at once")
                request()
            }
        }
        return this
    }

    /** Ignores a signal that another process handles. */
    fun ignoring(name: String): Stopping {
        Signal.handle(Signal(name), SignalHandler.SIG_IGN)
        return this
    }

    /** Asks to stop. */
    fun request() {
        asked.complete(Unit)
    }

    /** Waits so many seconds, or until it was asked to stop. */
    suspend fun wait(secs: Double) {
        withTimeoutOrNull(secs.seconds) { asked.await() }
    }

    /** Waits, and ends the coroutine if it was asked to stop. */
    suspend fun pause(secs: Double) {
        wait(secs)
        if (requested) throw Stopped()
    }

    private companion object {
        const val SIGNALLED = 128
    }
}

/** Thrown where a phone waits between repeated calls. */
internal class Stopped : CancellationException("asked to stop")
