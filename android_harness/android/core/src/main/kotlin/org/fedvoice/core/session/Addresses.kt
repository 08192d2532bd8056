package org.fedvoice.core.session

import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import java.net.InetAddress
import java.net.UnknownHostException

/** Whether [text] reads HOST:PORT with a port that can be called. */
fun isAddress(text: String): Boolean =
    text.substringBeforeLast(':', "").isNotEmpty() && portOf(text) in 1..MAX_PORT

/** The port of HOST:PORT; -1: none. */
fun portOf(address: String): Int = address.substringAfterLast(':', "").toIntOrNull() ?: -1

/** The host of HOST:PORT, without the brackets of IPv6. */
fun hostOf(address: String): String =
    address.substringBeforeLast(':', "").removePrefix("[").removeSuffix("]")

/** Whether HOST:PORT means every address of a machine: one to listen on, not to call. */
fun isWildcard(address: String): Boolean {
    val host = hostOf(address)
    val isIpv4 = host.isNotEmpty() && host.all { it.isDigit() || it == '.' }
    return host == "*" || ((isIpv4 || ':' in host) && isAnyLocal(host))
}

/** @throws FedvoiceException [code] at [where] for an address that only a server can use */
fun checkCanBeCalled(address: String, where: String, nextStep: String, code: ErrorCode) {
    if (!isWildcard(address)) return
    throw FedvoiceException(
        code,
        where = where,
        got = "$address, an address to listen on: nobody can call it",
        wanted = "the name or an address of the server's machine, as HOST:PORT",
        nextStep = nextStep,
    )
}

// Of literal addresses alone: a name would be looked up.
private fun isAnyLocal(literal: String): Boolean =
    try {
        InetAddress.getByName(literal).isAnyLocalAddress
    } catch (_: UnknownHostException) {
        false
    }

private const val MAX_PORT = 65_535
