package org.fedvoice.transport

import io.grpc.CallOptions
import io.grpc.Channel
import io.grpc.ClientCall
import io.grpc.ConnectivityState
import io.grpc.ManagedChannel
import io.grpc.MethodDescriptor

/**
 * A channel to one server: connected at the next call after a failure or a [rest], never by itself.
 *
 * gRPC's own keeps reconnecting to a server that is away, and fails every call at once in pauses
 * that grow to two minutes: longer than a phone's retries, which would never see that the server is
 * back. gRPC has no option against it: an idle channel keeps its old connection's tries for 5 s.
 *
 * One call at a time, or calls that may be broken off when another one finds no server.
 */
class FreshChannel internal constructor(private val make: () -> ManagedChannel) : Channel() {
    private var made: ManagedChannel? = null

    override fun <Q, R> newCall(
        method: MethodDescriptor<Q, R>,
        options: CallOptions,
    ): ClientCall<Q, R> = ready().newCall(method, options)

    override fun authority(): String = ready().authority()

    /** Between two sessions: no connection is kept, and none is tried. */
    @Synchronized
    fun rest() {
        made?.shutdownNow()
        made = null
    }

    /** Ends it and what it has under way. */
    @Synchronized
    fun end() {
        made?.end()
        made = null
    }

    @Synchronized
    private fun ready(): Channel {
        if (made?.getState(false) == ConnectivityState.TRANSIENT_FAILURE) rest()
        return made ?: make().also { made = it }
    }
}
