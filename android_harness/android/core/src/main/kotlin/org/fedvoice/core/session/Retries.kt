package org.fedvoice.core.session

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.random.Stream
import java.util.Locale
import kotlin.math.min
import kotlin.random.Random

/**
 * The retry policy of a phone.
 *
 * The k-th repetition waits backoffSecs * 2^k * u, u uniform in 0.5..1.5, at most maxBackoffSecs.
 *
 * @property timeoutSecs of calls of one message each way
 * @property silenceSecs of transfers: as long as a server's `[streams]` wait for a silent or slow
 *   one, so that it is the server that ends them and says what it has
 * @property longestSecs of a transfer, if its lease does not end sooner; a server's `longest_secs`
 */
data class CallPolicy(
    val timeoutSecs: Double = 30.0,
    val silenceSecs: Double = 90.0,
    val longestSecs: Double = 3600.0,
    val maxAttempts: Int = 5,
    val backoffSecs: Double = 0.5,
    val maxBackoffSecs: Double = 30.0,
)

/**
 * Repeats calls that failed, a bounded number of times and ever more slowly.
 *
 * @param jitter the phone's RETRY stream
 * @param pause waits so many seconds
 */
class Retries(
    private val policy: CallPolicy,
    private val jitter: Stream,
    private val log: (String) -> Unit,
    private val pause: suspend (Double) -> Unit,
) {
    /** For a call that is tried once. */
    fun once(): Retries = Retries(policy.copy(maxAttempts = 1), jitter, log, pause)

    /**
     * Repeats [attempt]; failures after which [progress] has grown do not count.
     *
     * @throws FedvoiceException `server-unreachable`, `server-rejected`, `bad-credentials`
     */
    suspend fun <T> repeated(
        name: String,
        server: String,
        progress: suspend () -> Long = { 0 },
        attempt: suspend () -> T,
    ): T {
        var failures = 0
        var reached = 0L
        while (true) {
            try {
                return attempt()
            } catch (error: CallFailure) {
                failures += 1
                giveUp(name, server, error, failures)
                val pauseSecs =
                    min(
                        policy.maxBackoffSecs,
                        policy.backoffSecs * (1L shl (failures - 1)) * (0.5 + jitter.uniform()),
                    )
                val shown = String.format(Locale.ROOT, "%.1f", pauseSecs)
                log("$name failed (${error.status}), again in $shown s")
                pause(pauseSecs)
            }
            val now = progress()
            if (now > reached) {
                failures = 0
                reached = now
            }
        }
    }

    private fun giveUp(name: String, server: String, error: CallFailure, failures: Int) {
        val got = "${error.status}: ${error.text}"
        when (error.kind) {
            FailureKind.REJECTED -> {
                throw rejected(name, server, got, error)
            }
            FailureKind.CREDENTIALS -> {
                throw refused(name, server, got, error)
            }
            FailureKind.TRANSIENT -> {
                if (failures >= policy.maxAttempts) {
                    throw unreachable(name, server, "$got, $failures times", error)
                }
            }
        }
    }
}

/**
 * How long a phone waits for a server that does not answer: half a minute, doubled up to an
 * hour. Retrying a server that is gone must not drain the battery.
 *
 * @param spread a factor around 1: not all phones of a server at once
 */
class AwayWait(private val spread: () -> Double = { Random.nextDouble(LEAST, MOST) }) {
    private var failures = 0

    /** Seconds until the next session, after one more that found no server. */
    fun nextSecs(): Double {
        val usualSecs = min(LONGEST_SECS, FIRST_SECS * (1L shl min(failures, DOUBLINGS)))
        failures += 1
        return usualSecs * spread()
    }

    /** The server has answered. */
    fun answered() {
        failures = 0
    }

    private companion object {
        const val FIRST_SECS = 30.0
        const val LONGEST_SECS = 3600.0
        const val DOUBLINGS = 16
        const val LEAST = 0.75
        const val MOST = 1.25
    }
}

/** The error for a call that the server refused. */
internal fun rejected(name: String, server: String, got: String, cause: Throwable? = null) =
    FedvoiceException(
        ErrorCode.SERVER_REJECTED,
        where = "$name at $server",
        got = got,
        wanted = "an answer by the protocol",
        nextStep = "See the server's log; update the side that is older.",
        cause = cause,
    )

private fun refused(name: String, server: String, got: String, cause: Throwable) =
    FedvoiceException(
        ErrorCode.BAD_CREDENTIALS,
        where = "$name at $server",
        got = got,
        wanted = "a key and a certificate that the server takes",
        nextStep =
            "Check this device's clock and ask whoever runs the server for a new invitation. " +
                "The phone keeps its work.",
        cause = cause,
    )

private fun unreachable(name: String, server: String, got: String, cause: Throwable) =
    FedvoiceException(
        ErrorCode.SERVER_UNREACHABLE,
        where = "$name at $server",
        got = got,
        wanted = "an aggregation server that answers",
        nextStep =
            "Check the address and that `fedvoice serve` runs; the phone keeps its work and " +
                "may call again.",
        cause = cause,
    )
