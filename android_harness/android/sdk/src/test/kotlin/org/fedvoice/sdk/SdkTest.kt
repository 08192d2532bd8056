package org.fedvoice.sdk

import android.app.Application
import android.content.Intent
import android.net.ConnectivityManager
import android.net.NetworkCapabilities
import android.os.BatteryManager
import android.os.Looper
import android.os.PowerManager
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Deferred
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitCancellation
import kotlinx.coroutines.job
import kotlinx.coroutines.joinAll
import kotlinx.coroutines.runBlocking
import org.fedvoice.core.ErrorCode
import org.fedvoice.core.FedvoiceException
import org.fedvoice.core.model.TaskManifest
import org.fedvoice.core.session.Clock
import org.fedvoice.core.session.Happened
import org.fedvoice.core.session.Outcome
import org.fedvoice.core.session.Traffic
import org.fedvoice.core.store.ExampleStore
import org.fedvoice.wire.Statistics
import org.junit.After
import org.junit.Before
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.shadows.ShadowNetworkCapabilities
import java.io.File

/** A fresh library on each Android version that it supports, with a phone that does as told. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [28, 34, 35])
abstract class SdkTest {
    internal val app: Application get() = RuntimeEnvironment.getApplication()
    internal val phone = FakePhone()
    internal val voice: FedVoice get() = FedVoice.get(app)
    internal val files: PhoneFiles get() = PhoneFiles(app)

    @Before
    fun freshLibrary() {
        FedVoice.forget()
        voice.phone = phone
    }

    @After
    fun forgetLibrary() = FedVoice.forget()

    internal fun agree() = runBlocking { voice.setConsent(true) }

    /** A phone on the charger, not in use, on an unmetered network, unless said otherwise. */
    @Suppress("DEPRECATION") // Apps may not send it any more; here it stands for the system's.
    internal fun conditions(
        charging: Boolean = true,
        inUse: Boolean = false,
        metered: Boolean = false,
        loginPage: Boolean = false,
        batteryPercent: Int = 80,
        celsius: Int? = 30,
        hasBattery: Boolean = true,
    ) {
        val battery = shadowOf(app.getSystemService(BatteryManager::class.java))
        battery.setIsCharging(charging)
        battery.setIntProperty(BatteryManager.BATTERY_PROPERTY_CAPACITY, batteryPercent)
        app.sendStickyBroadcast(
            Intent(Intent.ACTION_BATTERY_CHANGED)
                .putExtra(BatteryManager.EXTRA_PRESENT, hasBattery)
                .putExtra(BatteryManager.EXTRA_TEMPERATURE, celsius?.times(10) ?: Int.MIN_VALUE),
        )
        shadowOf(app.getSystemService(PowerManager::class.java)).turnScreenOn(inUse)
        val networks = app.getSystemService(ConnectivityManager::class.java)
        val capabilities = ShadowNetworkCapabilities.newInstance()
        val shadow = shadowOf(capabilities)
        shadow.addCapability(NetworkCapabilities.NET_CAPABILITY_INTERNET)
        if (!loginPage) shadow.addCapability(NetworkCapabilities.NET_CAPABILITY_VALIDATED)
        if (metered) {
            shadow.removeCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED)
        } else {
            shadow.addCapability(NetworkCapabilities.NET_CAPABILITY_NOT_METERED)
        }
        shadowOf(networks).setNetworkCapabilities(networks.activeNetwork, capabilities)
    }

    /** The app's process ends and starts again, as far as the library can tell. */
    internal fun startAgain(config: FedVoiceConfig = voice.config, clock: Clock? = null) {
        FedVoice.forget()
        voice.phone = phone
        clock?.let { voice.sessions.clock = it }
        start(config)
    }

    /** Starts the library and waits for what it does in the background. */
    internal fun start(config: FedVoiceConfig) {
        FedVoice.start(app, config)
        runBlocking {
            voice.background.coroutineContext.job.children
                .toList()
                .joinAll()
        }
    }

    /** A session that has begun an upload, which ends when it is cancelled. */
    internal suspend fun CoroutineScope.uploading(): Deferred<Double?> {
        val begun = CompletableDeferred<Unit>()
        phone.work = {
            begun.complete(Unit)
            awaitCancellation()
        }
        val session = async(Dispatchers.Default) { voice.session() }
        begun.await()
        return session
    }

    /** Lets the main thread work until [condition] holds, five seconds at most. */
    internal fun waitFor(condition: () -> Boolean) {
        val end = System.nanoTime() + 5_000_000_000
        while (!condition()) {
            check(System.nanoTime() < end) { "waited five seconds in vain" }
            shadowOf(Looper.getMainLooper()).idle()
            Thread.sleep(5)
        }
    }
}

/** Does in a session what a test says. */
internal class FakePhone : PhoneAccess {
    override val clientId = "phone"
    override var isEnrolled = true
    var invitations = emptyList<String>()
    var overrides = emptyList<Boolean>()
    var tasks = emptyList<File>()
    var given: TaskManifest? = null
    override var traffic = Traffic()

    @Volatile
    var work: suspend (shouldStop: () -> Boolean) -> Outcome = { trained() }

    override suspend fun enrol(invitation: String): Boolean {
        val isNew = invitation !in invitations
        invitations += invitation
        isEnrolled = true
        return isNew
    }

    override fun forget() {
        isEnrolled = false
    }

    override suspend fun <T> alone(work: suspend () -> T): T = work()

    override suspend fun session(
        config: FedVoiceConfig,
        store: ExampleStore,
        overridden: Boolean,
        shouldStop: () -> Boolean,
    ): Outcome {
        overrides += overridden
        traffic = Traffic()
        return work(shouldStop)
    }

    override fun recognise(waveform: FloatArray, sampleRate: Int?, threads: Int): String =
        "${waveform.size} samples" + (sampleRate?.let { " at $it Hz" } ?: "")

    /** What it listens with; null: a phone without a model. */
    var engine: LoudnessEngine? = null

    override fun streamingModel(threads: Int): StreamingModel =
        StreamingModel(engine ?: throw failure(ErrorCode.NOT_FOUND), FloatArray(0))

    override fun task(): TaskManifest? = given

    override fun installTask(folder: File) {
        tasks += folder
    }

    companion object {
        fun failure(code: ErrorCode) =
            FedvoiceException(
                code,
                where = "test",
                got = "this",
                wanted = "that",
                nextStep = "None.",
            )

        fun trained(nextContactSecs: Double = 600.0, finished: Boolean = false) =
            Outcome(
                Happened.TRAINED,
                nextContactSecs,
                finished,
                round = 3,
                statistics =
                    Statistics
                        .newBuilder()
                        .setExamples(7)
                        .setSteps(2)
                        .setLoss(1.5)
                        .setTrainSecs(4.0)
                        .build(),
                bytesUp = 1000,
                bytesDown = 2000,
                attempts = 4,
            )
    }
}

/** A clock that a test sets. */
internal class HandClock(var wall: Double = 1.7e9) : Clock {
    override fun wallSecs() = wall

    override fun elapsedSecs() = wall
}
