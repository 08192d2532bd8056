package org.fedvoice.sdk

import android.media.MediaCodec
import android.media.MediaFormat
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.store.wavOf
import org.junit.After
import org.junit.Assert.assertArrayEquals
import org.junit.Assert.assertEquals
import org.junit.Assert.assertThrows
import org.junit.Assert.assertTrue
import org.junit.Test
import org.robolectric.annotation.Config
import org.robolectric.annotation.Implementation
import org.robolectric.annotation.Implements
import org.robolectric.shadows.ShadowMediaCodec
import org.robolectric.shadows.ShadowMediaExtractor
import org.robolectric.shadows.util.DataSource
import java.io.File
import java.nio.ByteBuffer
import java.nio.ByteOrder

/** With Robolectric's codec, which gives what it gets: no decoder of a phone was run. */
class MediaDecoderTest : SdkTest() {
    private val pcm = ShortArray(40_000) { (it % 2000 - 1000).toShort() }

    @After
    fun clear() {
        ShadowMediaExtractor.reset()
        ShadowMediaCodec.clearCodecs()
    }

    private fun recording(samples: ShortArray, channels: Int, kind: String = AAC): File {
        val file = File(app.filesDir, "a.m4a").apply { writeText("as the track below says") }
        val bytes = ByteBuffer.allocate(2 * samples.size).order(ByteOrder.nativeOrder())
        bytes.asShortBuffer().put(samples)
        ShadowMediaExtractor.addTrack(
            DataSource.toDataSource(file.path),
            MediaFormat.createAudioFormat(kind, RATE, channels),
            bytes.array(),
        )
        return file
    }

    private fun refusal(file: File): FedvoiceException =
        assertThrows(FedvoiceException::class.java) { MediaDecoder.decode(file, "a.m4a") }
            .also { assertEquals(ErrorCode.UNREADABLE_AUDIO, it.code) }

    @Test
    fun `what the codec gives becomes a wav file`() {
        val decoded = MediaDecoder.decode(recording(pcm, channels = 1), "a.m4a")
        assertArrayEquals(wavOf(pcm, RATE), decoded)
    }

    @Test
    fun `two channels are averaged`() {
        val both = ShortArray(2 * pcm.size) { (pcm[it / 2] + if (it % 2 == 0) 6 else -6).toShort() }
        val decoded = MediaDecoder.decode(recording(both, channels = 2), "a.m4a")
        assertArrayEquals(wavOf(pcm, RATE), decoded)
    }

    @Test
    fun `a film without sound and a longer recording than a minute are refused`() {
        assertEquals("no sound in it", refusal(recording(pcm, 1, kind = "video/avc")).got)
        ShadowMediaExtractor.reset()
        assertTrue("of sound" in refusal(recording(ShortArray(61 * RATE), 1)).got)
    }

    @Test
    @Config(shadows = [MuteCodec::class])
    fun `a codec that gives nothing is given up`() {
        assertTrue("gives no sound any more" in refusal(recording(pcm, 1)).got)
    }

    @Test
    @Config(shadows = [EmptyCodec::class])
    fun `a codec that gives buffers without sound for ever is given up`() {
        assertTrue("gives no sound any more" in refusal(recording(pcm, 1)).got)
    }

    private companion object {
        const val AAC = "audio/mp4a-latm"
        const val RATE = 16_000
    }
}

/** Takes nothing and gives nothing, without the waits of a codec that is slow. */
@Implements(MediaCodec::class)
open class MuteCodec : ShadowMediaCodec() {
    @Implementation
    override fun native_dequeueInputBuffer(micros: Long): Int = MediaCodec.INFO_TRY_AGAIN_LATER

    @Implementation
    override fun native_dequeueOutputBuffer(info: MediaCodec.BufferInfo, micros: Long): Int =
        MediaCodec.INFO_TRY_AGAIN_LATER
}

/** Gives the same buffer again and again, without a sample in it. */
@Implements(MediaCodec::class)
class EmptyCodec : MuteCodec() {
    @Implementation
    override fun native_dequeueOutputBuffer(info: MediaCodec.BufferInfo, micros: Long): Int {
        info.set(0, 0, 0, 0)
        return 0
    }

    @Implementation
    override fun releaseOutputBuffer(index: Int, render: Boolean) = Unit
}
