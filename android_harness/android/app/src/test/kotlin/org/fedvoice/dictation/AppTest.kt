package org.fedvoice.dictation

import android.app.Activity
import android.app.Application
import android.bluetooth.BluetoothDevice
import android.os.Looper
import android.view.View
import android.widget.Button
import android.widget.TextView
import org.fedvoice.sdk.FedVoice
import org.junit.After
import org.junit.Before
import org.junit.runner.RunWith
import org.robolectric.RobolectricTestRunner
import org.robolectric.RuntimeEnvironment
import org.robolectric.Shadows.shadowOf
import org.robolectric.annotation.Config
import org.robolectric.annotation.Implements

/** A fresh library on each Android version that the app supports. */
@RunWith(RobolectricTestRunner::class)
@Config(sdk = [28, 34, 35], shadows = [NoBluetooth::class])
abstract class AppTest {
    internal val app: Application get() = RuntimeEnvironment.getApplication()
    internal val voice: FedVoice get() = FedVoice.get(app)

    @Volatile
    private var uncaught: Throwable? = null

    /** As after the start of the app's process: the library lives as long as that. */
    @Before
    fun freshLibrary() {
        Thread.setDefaultUncaughtExceptionHandler { _, error -> uncaught = error }
        FedVoice.Companion::class.java
            .getMethod("forget\$sdk")
            .invoke(FedVoice.Companion)
    }

    @After
    fun nothingEndedTheApp() {
        Thread.setDefaultUncaughtExceptionHandler(null)
        uncaught?.let { throw AssertionError("the app would have ended", it) }
    }

    internal fun text(id: Int): String = app.getString(id)

    internal fun Activity.text(id: Int): String = findViewById<TextView>(id).text.toString()

    internal fun Activity.button(id: Int): Button = findViewById(id)

    internal fun Activity.view(id: Int): View = findViewById(id)

    internal val Activity.message get() = text(R.id.message)

    /** Lets the main thread work until nothing is under way in the screen. */
    internal fun Screen.settle() = waitFor { isIdle }

    /** Lets the main thread work until [condition] holds; a minute means that it hangs. */
    internal fun waitFor(condition: () -> Boolean) {
        val end = System.nanoTime() + 60_000_000_000
        shadowOf(Looper.getMainLooper()).idle()
        while (!condition()) {
            check(System.nanoTime() < end) { "waited a minute in vain" }
            Thread.sleep(5)
            shadowOf(Looper.getMainLooper()).idle()
        }
    }
}

/** Players look at Robolectric's own one, which names a class that only later Androids have. */
@Implements(BluetoothDevice::class)
class NoBluetooth
