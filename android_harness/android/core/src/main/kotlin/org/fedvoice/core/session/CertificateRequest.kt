package org.fedvoice.core.session

import java.io.ByteArrayOutputStream
import java.security.KeyPair
import java.security.Signature

/**
 * A certificate request (PKCS #10, RFC 2986) in DER, of one shape: an EC P-256 key, the subject
 * CN=[commonName], signed with ECDSA and SHA-256. Android has no public API for this.
 */
fun certificateRequest(key: KeyPair, commonName: String): ByteArray {
    val name =
        sequence(set(sequence(Oid.COMMON_NAME, element(Tag.UTF8_STRING, commonName.toByteArray()))))
    val version = element(Tag.INTEGER, byteArrayOf(0))
    val noAttributes = element(Tag.CONTEXT_0, ByteArray(0))
    // An EC key's encoding is SubjectPublicKeyInfo already.
    val facts = sequence(version, name, key.public.encoded, noAttributes)
    val signature = Signature.getInstance("SHA256withECDSA")
    signature.initSign(key.private)
    signature.update(facts)
    val bits = element(Tag.BIT_STRING, byteArrayOf(0) + signature.sign())
    return sequence(facts, sequence(Oid.ECDSA_WITH_SHA256), bits)
}

private object Tag {
    const val INTEGER = 0x02
    const val BIT_STRING = 0x03
    const val OBJECT_ID = 0x06
    const val UTF8_STRING = 0x0c
    const val SEQUENCE = 0x30
    const val SET = 0x31
    const val CONTEXT_0 = 0xa0
}

private object Oid {
    /** 2.5.4.3 */
    val COMMON_NAME = element(Tag.OBJECT_ID, byteArrayOf(0x55, 0x04, 0x03))

    /** 1.2.840.10045.4.3.2 */
    val ECDSA_WITH_SHA256 =
        element(
            Tag.OBJECT_ID,
            byteArrayOf(0x2a, 0x86.toByte(), 0x48, 0xce.toByte(), 0x3d, 0x04, 0x03, 0x02),
        )
}

private fun sequence(vararg parts: ByteArray): ByteArray = element(Tag.SEQUENCE, *parts)

private fun set(part: ByteArray): ByteArray = element(Tag.SET, part)

/** Tag, length (X.690, section 8.1.3), content. */
private fun element(tag: Int, vararg parts: ByteArray): ByteArray {
    val size = parts.sumOf { it.size }
    val out = ByteArrayOutputStream(size + MAX_HEADER)
    out.write(tag)
    when {
        size < SHORT_LENGTHS -> {
            out.write(size)
        }
        size <= BYTE -> {
            out.write(SHORT_LENGTHS or 1)
            out.write(size)
        }
        else -> {
            require(size <= SHORT) { "longer than a certificate request is" }
            out.write(SHORT_LENGTHS or 2)
            out.write(size shr Byte.SIZE_BITS)
            out.write(size and BYTE)
        }
    }
    parts.forEach(out::write)
    return out.toByteArray()
}

private const val SHORT_LENGTHS = 0x80
private const val BYTE = 0xff
private const val SHORT = 0xffff
private const val MAX_HEADER = 4
