package org.fedvoice.dictation

import android.os.Build
import android.view.View
import android.view.WindowInsets

/**
 * Android 15 draws an app behind the system's bars: what is in this view keeps clear of them, of
 * the camera's cut-out and of the keyboard. Earlier Androids keep windows clear themselves.
 */
internal fun View.keepClearOfBars() {
    setOnApplyWindowInsetsListener { view, insets ->
        if (Build.VERSION.SDK_INT >= Build.VERSION_CODES.R) {
            val taken =
                insets.getInsets(
                    WindowInsets.Type.systemBars() or
                        WindowInsets.Type.displayCutout() or
                        WindowInsets.Type.ime(),
                )
            view.setPadding(taken.left, taken.top, taken.right, taken.bottom)
            WindowInsets.CONSUMED
        } else {
            view.keepClearBefore30(insets)
        }
    }
}

@Suppress("DEPRECATION") // What came instead exists from API 30 on.
private fun View.keepClearBefore30(insets: WindowInsets): WindowInsets {
    setPadding(
        insets.systemWindowInsetLeft,
        insets.systemWindowInsetTop,
        insets.systemWindowInsetRight,
        insets.systemWindowInsetBottom,
    )
    return insets.consumeSystemWindowInsets()
}
