import ij.ImagePlus;
import ij.io.Opener;
import ij.measure.Calibration;
import ij.process.ImageProcessor;
import java.util.Locale;

/** Opens TIFF files with ImageJ's own reader and prints what it sees of each, one JSON object a line. */
public class Reopen {
    public static void main(String[] paths) {
        for (String path : paths) {
            ImagePlus image = new Opener().openImage(path);
            if (image == null) throw new IllegalArgumentException("ImageJ can't open " + path);
            Calibration scale = image.getCalibration();
            StringBuilder sums = new StringBuilder();
            for (int z = 1; z <= image.getStackSize(); z++) {
                ImageProcessor plane = image.getStack().getProcessor(z);
                double sum = 0;
                for (int i = 0; i < plane.getPixelCount(); i++) sum += plane.getf(i);
                sums.append(z > 1 ? "," : "").append((long) sum);
            }
            System.out.printf(
                Locale.ROOT,
                "{\"shape_zyx\":[%d,%d,%d],\"bits\":%d,\"voxel_zyx\":[%s,%s,%s],\"unit\":\"%s\",\"sums\":[%s]}%n",
                image.getNSlices(), image.getHeight(), image.getWidth(), image.getBitDepth(),
                scale.pixelDepth, scale.pixelHeight, scale.pixelWidth, scale.getUnit(), sums);
        }
    }
}
