package org.fedvoice.dictation

import android.graphics.Bitmap
import android.graphics.Canvas
import android.graphics.Color
import android.graphics.Rect
import android.view.View
import android.view.ViewGroup
import android.widget.AbsListView
import android.widget.ImageView
import android.widget.ScrollView
import android.widget.TextView

// What Google's accessibility-test-framework looks for, and text that is cut: the versions of that
// framework which are in Maven Central do not know today's Android.

/** A view with all that is in it, as a person sees it. */
internal fun View.shot(): Bitmap =
    Bitmap.createBitmap(width, height, Bitmap.Config.ARGB_8888).also {
        jumpDrawablesToCurrentState()
        draw(Canvas(it))
    }

/** What keeps a person from seeing, hearing or touching what is in [root]; drawn as [shot]. */
internal fun faultsOf(root: View, shot: Bitmap): List<String> {
    val views = visible(root)
    val density = root.resources.displayMetrics.density
    val spoken = views.filter { it.isButton() }.map { it.spoken() }
    val twice = spoken.filter { it.isNotEmpty() }.groupBy { it }.filterValues { it.size > 1 }
    return views.flatMap { view ->
        listOfNotNull(
            "has no label".takeIf { view.isButton() && view.spoken().isEmpty() },
            "is too small to touch".takeIf { view.isButton() && view.isSmall(density) },
            "is cut".takeIf { view.isCut() },
            "is hard to see".takeIf { view.isEnabled && view.isFaint(root, shot) },
        ).map { "${view.name()} $it" }
    } + twice.keys.map { "two are called '$it'" }
}

private fun visible(view: View): List<View> =
    when {
        view.visibility != View.VISIBLE || view.width == 0 -> {
            emptyList()
        }
        view is ViewGroup -> {
            listOf(view) +
                List(view.childCount, view::getChildAt).flatMap(::visible)
        }
        else -> {
            listOf(view)
        }
    }

private fun View.spoken(): String {
    val text = (this as? TextView)?.let { it.text.ifEmpty { it.hint } }
    return (contentDescription ?: text ?: "").toString()
}

private fun View.name(): String {
    val id = if (id == View.NO_ID) "" else resources.getResourceEntryName(id)
    return "${javaClass.simpleName} $id '${spoken()}'"
}

/** What a person presses; a list only passes that on to its rows. */
private fun View.isButton() = isClickable && this !is AbsListView

private fun View.isSmall(density: Float) =
    width < LEAST_DP * density - 1 || height < LEAST_DP * density - 1

/** Text with dots or out of its view, and views out of what holds them. */
private fun View.isCut(): Boolean {
    val holder = parent as? ViewGroup
    val scrolls = holder is ScrollView || holder is AbsListView
    val isBeside = holder != null && (left < 0 || right > holder.width)
    val isAboveOrBelow = holder != null && (top < 0 || bottom > holder.height)
    val isOut = isBeside || (isAboveOrBelow && !scrolls)
    if (this !is TextView) return isOut
    val laid = layout ?: return true
    val hasDots = (0 until laid.lineCount).any { laid.getEllipsisCount(it) > 0 }
    val isHigher = laid.height + compoundPaddingTop + compoundPaddingBottom > height
    val widest = (0 until laid.lineCount).maxOfOrNull { laid.getLineMax(it) } ?: 0f
    return isOut || hasDots || isHigher ||
        widest > width - compoundPaddingLeft - compoundPaddingRight + 1
}

/** Text below 4.5:1 (large text and icons: 3:1) against what is behind it. */
private fun View.isFaint(root: View, shot: Bitmap): Boolean {
    val isText = this is TextView && spoken().isNotEmpty()
    if (!isText && this !is ImageView) return false
    val place = Rect(0, 0, width, height)
    (root as ViewGroup).offsetDescendantRectToMyCoords(this, place)
    if (!place.intersect(0, 0, shot.width, shot.height)) return false
    val pixels = IntArray(place.width() * place.height())
    val (columns, lines) = place.width() to place.height()
    shot.getPixels(pixels, 0, columns, place.left, place.top, columns, lines)
    val counts = pixels.asIterable().groupingBy { it }.eachCount()
    val behind = counts.maxBy { it.value }.key
    if (this !is TextView) return counts.keys.maxOf { contrast(it, behind) } < LARGE_CONTRAST
    val ink = if (text.isEmpty()) currentHintTextColor else currentTextColor
    val isLarge = textSize >= LARGE_DP * resources.displayMetrics.density
    return contrast(over(ink, behind), behind) < if (isLarge) LARGE_CONTRAST else TEXT_CONTRAST
}

/** WCAG's contrast ratio of two opaque colours. */
private fun contrast(a: Int, b: Int): Double {
    val (dark, light) = listOf(Color.luminance(a), Color.luminance(b)).sorted()
    return (light + 0.05) / (dark + 0.05)
}

private fun over(ink: Int, behind: Int): Int {
    val share = Color.alpha(ink) / 255f

    fun mixed(part: (Int) -> Int) = (share * part(ink) + (1 - share) * part(behind)).toInt()
    return Color.rgb(mixed(Color::red), mixed(Color::green), mixed(Color::blue))
}

private const val LEAST_DP = 48
private const val LARGE_DP = 24
private const val TEXT_CONTRAST = 4.5
private const val LARGE_CONTRAST = 3.0
