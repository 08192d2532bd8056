package org.fedvoice.core.session

import java.io.ByteArrayInputStream
import java.io.File
import java.security.cert.CertificateFactory
import java.security.cert.X509Certificate
import java.util.Base64

/** @throws java.security.GeneralSecurityException if [der] is no certificate */
fun certificateOf(der: ByteArray): X509Certificate =
    CertificateFactory
        .getInstance("X.509")
        .generateCertificate(ByteArrayInputStream(der)) as X509Certificate

/** The DER bytes of the first block of a PEM text. */
fun unpem(text: String): ByteArray {
    val lines = text.lines().map(String::trim)
    val begin = lines.indexOfFirst { it.startsWith("-----BEGIN ") }
    val end = lines.indexOfFirst { it.startsWith("-----END ") }
    require(begin in 0 until end) { "no PEM block" }
    return Base64.getDecoder().decode(lines.subList(begin + 1, end).joinToString(""))
}

internal fun unpem(file: File): ByteArray = unpem(file.readText(Charsets.US_ASCII))

internal fun pem(label: String, der: ByteArray): ByteArray {
    val body = Base64.getMimeEncoder(PEM_COLUMNS, "\n".toByteArray()).encodeToString(der)
    return "-----BEGIN $label-----\n$body\n-----END $label-----\n".toByteArray()
}

private const val PEM_COLUMNS = 64

/** 2.5.4.3 in DER. */
private val COMMON_NAME = byteArrayOf(0x06, 0x03, 0x55, 0x04, 0x03)

/** The common name, the only part of a subject that fedvoice's certificates have. */
internal fun nameOf(certificate: X509Certificate): String {
    val subject = certificate.subjectX500Principal.encoded
    val at =
        subject.indices.firstOrNull { i ->
            COMMON_NAME.indices.all { subject.getOrNull(i + it) == COMMON_NAME[it] }
        } ?: return ""
    // The object id is followed by the string: tag, length (X.690, section 8.1.3), bytes.
    val lengthAt = at + COMMON_NAME.size + 1
    val first = subject[lengthAt].toInt() and BYTE
    val more = if (first < LONG_LENGTHS) 0 else first - LONG_LENGTHS
    val length =
        (1..more).fold(if (more == 0) first else 0) { sum, i ->
            (sum shl Byte.SIZE_BITS) or (subject[lengthAt + i].toInt() and BYTE)
        }
    return String(subject, lengthAt + 1 + more, length, Charsets.UTF_8)
}

private const val LONG_LENGTHS = 0x80
private const val BYTE = 0xff
