package org.fedvoice.transport

import io.grpc.CallOptions
import io.grpc.Channel
import io.grpc.ClientCall
import io.grpc.MethodDescriptor
import io.grpc.stub.ClientCallStreamObserver
import io.grpc.stub.ClientCalls
import io.grpc.stub.ClientResponseObserver
import kotlinx.coroutines.CancellableContinuation
import kotlinx.coroutines.suspendCancellableCoroutine
import org.fedvoice.core.session.Credentials
import org.fedvoice.core.session.ServerLink
import org.fedvoice.wire.AggregationGrpc
import org.fedvoice.wire.CheckInReply
import org.fedvoice.wire.CheckInRequest
import org.fedvoice.wire.Chunk
import org.fedvoice.wire.FetchRequest
import org.fedvoice.wire.ReportReply
import org.fedvoice.wire.ReportRequest
import org.fedvoice.wire.ReportStatusReply
import org.fedvoice.wire.ReportStatusRequest
import java.security.cert.X509Certificate
import java.util.concurrent.TimeUnit
import kotlin.coroutines.resume
import kotlin.coroutines.resumeWithException

/**
 * The service's calls over one gRPC channel; the channel's creator shuts it down.
 *
 * @param credentials what the channel shows and trusts now, for errors; null: it has no TLS
 */
class GrpcLink(
    private val channel: FreshChannel,
    override val server: String,
    private val credentials: () -> Credentials? = { null },
) : ServerLink {
    private val shown = { credentials()?.certificate }
    private val causes = Causes(server, { credentials()?.authority }, credentials)

    override suspend fun checkIn(request: CheckInRequest, timeoutSecs: Double): CheckInReply =
        unary("CheckIn", AggregationGrpc.getCheckInMethod(), request, timeoutSecs)

    override suspend fun reportStatus(
        request: ReportStatusRequest,
        timeoutSecs: Double,
    ): ReportStatusReply =
        unary("ReportStatus", AggregationGrpc.getReportStatusMethod(), request, timeoutSecs)

    override suspend fun fetch(
        request: FetchRequest,
        timeoutSecs: Double,
        onChunk: (Chunk) -> Unit,
    ): Unit = causes.explained("Fetch") { fetched(request, timeoutSecs, onChunk) }

    override suspend fun report(
        messages: Iterator<ReportRequest>,
        timeoutSecs: Double,
    ): ReportReply = causes.explained("Report") { reported(messages, timeoutSecs) }

    private suspend fun fetched(
        request: FetchRequest,
        timeoutSecs: Double,
        onChunk: (Chunk) -> Unit,
    ) {
        suspendCancellableCoroutine { waiting ->
            val call = newCall(AggregationGrpc.getFetchMethod(), timeoutSecs)
            val observer =
                object : Answer<FetchRequest, Chunk, Unit>(waiting, shown) {
                    override fun onStart(stream: ClientCallStreamObserver<FetchRequest>) {
                        // A chunk is asked for when the one before is on the disk.
                        stream.disableAutoRequestWithInitial(1)
                    }

                    override fun onNext(value: Chunk) {
                        take { onChunk(value) }
                        stream.request(1)
                    }

                    override fun result() = Unit
                }
            ClientCalls.asyncServerStreamingCall(call, request, observer)
        }
    }

    private suspend fun reported(
        messages: Iterator<ReportRequest>,
        timeoutSecs: Double,
    ): ReportReply =
        suspendCancellableCoroutine { waiting ->
            val call = newCall(AggregationGrpc.getReportMethod(), timeoutSecs)
            val observer =
                object : OneReply<ReportRequest, ReportReply>(waiting, shown) {
                    private var sent = false

                    override fun onStart(stream: ClientCallStreamObserver<ReportRequest>) {
                        stream.setOnReadyHandler { take { send(stream) } }
                    }

                    private fun send(stream: ClientCallStreamObserver<ReportRequest>) {
                        while (!sent && stream.isReady) {
                            if (messages.hasNext()) {
                                stream.onNext(messages.next())
                            } else {
                                sent = true
                                stream.onCompleted()
                            }
                        }
                    }
                }
            ClientCalls.asyncClientStreamingCall(call, observer)
        }

    /** Between two sessions: no connection is kept, and none is tried. */
    fun rest() {
        channel.rest()
    }

    private suspend fun <Q : Any, R : Any> unary(
        name: String,
        method: MethodDescriptor<Q, R>,
        request: Q,
        timeoutSecs: Double,
    ): R = causes.explained(name) { channel.unary(method, request, timeoutSecs, shown) }

    private fun <Q, R> newCall(
        method: MethodDescriptor<Q, R>,
        timeoutSecs: Double,
    ): ClientCall<Q, R> = channel.newCall(method, within(timeoutSecs))
}

/**
 * One call with one answer.
 *
 * @throws org.fedvoice.core.session.CallFailure if it fails
 */
internal suspend fun <Q : Any, R : Any> Channel.unary(
    method: MethodDescriptor<Q, R>,
    request: Q,
    timeoutSecs: Double,
    shown: () -> X509Certificate? = { null },
): R =
    suspendCancellableCoroutine { waiting ->
        val call = newCall(method, within(timeoutSecs))
        ClientCalls.asyncUnaryCall(call, request, OneReply<Q, R>(waiting, shown))
    }

private fun within(secs: Double): CallOptions =
    CallOptions.DEFAULT.withDeadlineAfter((secs * MICROS).toLong(), TimeUnit.MICROSECONDS)

private const val MICROS = 1e6

/** Passes a call's result to the coroutine that waits for it; cancels the call with it. */
private abstract class Answer<Q, R, T>(
    private val waiting: CancellableContinuation<T>,
    private val shown: () -> X509Certificate?,
) : ClientResponseObserver<Q, R> {
    protected lateinit var stream: ClientCallStreamObserver<Q>
    private var thrown: Throwable? = null

    abstract fun result(): T?

    open fun onStart(stream: ClientCallStreamObserver<Q>): Unit = Unit

    final override fun beforeStart(requestStream: ClientCallStreamObserver<Q>) {
        stream = requestStream
        onStart(requestStream)
        waiting.invokeOnCancellation { requestStream.cancel("the phone stopped", null) }
    }

    /** Runs the phone's own code; what that throws breaks the call off and is thrown there. */
    @Suppress("TooGenericExceptionCaught")
    protected fun take(work: () -> Unit) {
        if (thrown != null) return
        try {
            work()
        } catch (error: Exception) {
            thrown = error
            stream.cancel("the phone failed", error)
        }
    }

    final override fun onError(error: Throwable) {
        if (waiting.isActive) waiting.resumeWithException(thrown ?: failureOf(error, shown()))
    }

    final override fun onCompleted() {
        if (!waiting.isActive) return
        val result = result()
        if (result == null) {
            waiting.resumeWithException(thrown ?: unanswered())
        } else {
            waiting.resume(result)
        }
    }
}

private open class OneReply<Q, R>(
    waiting: CancellableContinuation<R>,
    shown: () -> X509Certificate?,
) : Answer<Q, R, R>(waiting, shown) {
    private var reply: R? = null

    override fun onNext(value: R) {
        reply = value
    }

    override fun result(): R? = reply
}
